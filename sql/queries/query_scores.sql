-- P@N of each labelled query of a run by both definitions, NaN where undefined, for the resampling of patients: with
-- its cluster (its patient, or itself where that is unknown), class and dataset. Ordered by query and N.
SELECT
    p.query_id,
    coalesce(i.patient_id, -p.query_id) AS cluster_id,
    p.label_id::bigint AS label_id,
    i.dataset_id::bigint AS dataset_id,
    p.n::bigint AS n,
    p.precision,
    coalesce(p.precision_capped, 'NaN') AS precision_capped
FROM precision_query AS p
INNER JOIN image AS i ON i.image_id = p.query_id
WHERE p.run_id = %(run_id)s AND p.n = any(%(n)s)
ORDER BY p.query_id, p.n
