-- How many images pass a filter, and how many of them have a vector of the encoder.
SELECT
    count(*) AS images,
    count(b.image_id) AS encoded
FROM image AS i
LEFT JOIN {partition} AS b ON b.image_id = i.image_id
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
