-- Values of some metrics of each labelled query of a run, NaN where undefined, for the resampling of patients: with the
-- query's cluster (its patient, or itself where that is unknown), class and dataset. metric is its place among those
-- asked for, n is 0 for one that does not depend on N. In no order.
SELECT
    e.query_id,
    coalesce(i.patient_id, -e.query_id) AS cluster_id,
    e.label_id::bigint AS label_id,
    e.dataset_id::bigint AS dataset_id,
    array_position(%(metric)s::text[], e.metric)::bigint AS metric,
    coalesce(e.n, 0)::bigint AS n,
    coalesce(e.value, 'NaN') AS value
FROM evaluation_query AS e
INNER JOIN image AS i ON i.image_id = e.query_id
WHERE
    e.run_id = %(run_id)s
    AND e.metric = any(%(metric)s)
    AND (e.n = any(%(n)s) OR e.n IS NULL)
    AND (e.relevant > 0 OR NOT %(possible_only)s)
