-- query_cutoff: query_ranking at every N from 1 to the run's, one row per labelled query and N.
-- matches counts the relevant hits among the first N, relevant_ranks[1:matches] are their ranks.
CREATE VIEW query_cutoff AS
SELECT
    q.run_id,
    q.query_id,
    q.label_id,
    q.dataset_id,
    q.relevant,
    q.hit_label_ids,
    q.relevant_ranks,
    c.n,
    width_bucket(c.n, q.relevant_ranks) AS matches
FROM run AS r
CROSS JOIN LATERAL generate_series(1, r.n) AS c (n)
INNER JOIN query_ranking AS q ON q.run_id = r.run_id;
