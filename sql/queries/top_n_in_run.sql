-- The n nearest images of the run's index to one of its queries, exactly, in the order (distance, image_id).
SELECT
    b.image_id,
    b.v <=> (SELECT q.v FROM {partition} AS q WHERE q.image_id = %(query_id)s) AS distance
FROM {partition} AS b
INNER JOIN run_index AS x ON x.image_id = b.image_id
WHERE
    x.picture_id <> %(picture_id)s
    AND (%(patient_id)s::bigint IS NULL OR x.patient_id IS DISTINCT FROM %(patient_id)s)
    AND (%(study_id)s::bigint IS NULL OR x.study_id IS DISTINCT FROM %(study_id)s)
ORDER BY distance, b.image_id
LIMIT %(n)s;
