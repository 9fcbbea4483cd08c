-- evaluation_cell: moments of every metric within the smallest groups, which evaluation pools to every larger one.
-- One row per run, metric, class, dataset, N and possible, which tells queries that have a possible relevant image.
-- defined counts those with a value, mean is over them, squares is the sum of their squared deviations from it.
-- Each query is read once per metric, whatever is averaged later.
CREATE VIEW evaluation_cell AS
SELECT
    run_id,
    metric,
    label_id,
    dataset_id,
    relevant > 0 AS possible,
    n,
    count(*) AS queries,
    count(value) AS defined,
    avg(value) AS mean,
    coalesce(var_samp(value) * (count(value) - 1), 0) AS squares
FROM evaluation_query
GROUP BY run_id, metric, label_id, dataset_id, relevant > 0, n;
