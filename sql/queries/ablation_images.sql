-- Images with a vector and exactly one label that match the filter, with patient (0 where unknown) and class.
SELECT
    i.image_id,
    coalesce(i.patient_id, 0) AS patient_id,
    c.label_id::bigint AS label_id,
    i.image_id AS picture_id,
    0::bigint AS study_id
FROM image AS i
INNER JOIN {partition} AS b ON b.image_id = i.image_id
INNER JOIN image_class AS c ON c.image_id = i.image_id
WHERE
    (%(dataset)s::text IS NULL OR i.dataset_id = (SELECT d.dataset_id FROM dataset AS d WHERE d.name = %(dataset)s))
    AND (
        %(datasets)s::text[] IS NULL
        OR i.dataset_id IN (SELECT d.dataset_id FROM dataset AS d WHERE d.name = any(%(datasets)s::text[]))
    )
    AND (%(modality)s::text IS NULL OR i.modality = %(modality)s)
    AND (%(region)s::text IS NULL OR i.region = %(region)s)
    AND (%(split)s::text IS NULL OR i.split = %(split)s)
    AND (
        %(finding)s::text IS NULL
        OR i.image_id IN (
            SELECT l.image_id FROM image_label AS l
            INNER JOIN label AS f ON f.label_id = l.label_id
            WHERE f.finding = %(finding)s
        )
    )
    AND (
        %(named)s::text IS NULL
        OR EXISTS (SELECT FROM filtered_image AS f WHERE f.filter = %(named)s AND f.image_id = i.image_id)
    )
ORDER BY i.image_id
