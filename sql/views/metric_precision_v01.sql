-- metric_precision: P@N = relevant hits among the first N / N (definition 'paper'); 0 for a query without hits.
-- Source: Denner et al. 2024, equation 1.
CREATE VIEW metric_precision AS
SELECT
    q.run_id,
    q.query_id,
    q.label_id,
    q.dataset_id,
    q.relevant,
    q.n,
    q.matches / q.n::double precision AS value
FROM query_cutoff AS q;
