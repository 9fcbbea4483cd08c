-- Labelled queries of a run, for the resampling of patients: each with its cluster (its patient, or itself where that
-- is unknown), class and dataset. In the order of their ids.
SELECT
    q.query_id,
    coalesce(i.patient_id, -q.query_id) AS cluster_id,
    q.label_id::bigint AS label_id,
    i.dataset_id::bigint AS dataset_id
FROM run_query AS q
INNER JOIN image AS i ON i.image_id = q.query_id
WHERE q.run_id = %(run_id)s AND q.label_id IS NOT NULL AND (q.relevant > 0 OR NOT %(possible_only)s)
ORDER BY q.query_id
