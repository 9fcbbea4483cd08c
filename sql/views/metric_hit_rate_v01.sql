-- metric_hit_rate: 1 where any of the first N hits is relevant, else 0; also called success@N or, loosely, recall@N.
-- Source: Musgrave et al. 2020, "A Metric Learning Reality Check", section 2.2 (there Recall@K).
CREATE VIEW metric_hit_rate AS
SELECT
    q.run_id,
    q.query_id,
    q.label_id,
    q.dataset_id,
    q.relevant,
    q.n,
    (q.matches > 0)::integer::double precision AS value
FROM query_cutoff AS q;
