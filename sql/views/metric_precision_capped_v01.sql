-- metric_precision_capped: relevant hits among the first N / min(N, relevant) (definition 'capped').
-- NULL without a possible relevant image. Source: the code published with Denner et al. 2024.
CREATE VIEW metric_precision_capped AS
SELECT
    q.run_id,
    q.query_id,
    q.label_id,
    q.dataset_id,
    q.relevant,
    q.n,
    q.matches / nullif(least(q.n, q.relevant), 0)::double precision AS value
FROM query_cutoff AS q;
