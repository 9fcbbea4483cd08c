-- Images of a map: those of a choice that have a vector, in the order of their ids.
SELECT i.image_id
FROM image AS i
INNER JOIN {partition} AS b ON b.image_id = i.image_id
WHERE
    (%(dataset)s::text IS NULL OR i.dataset_id = (SELECT d.dataset_id FROM dataset AS d WHERE d.name = %(dataset)s))
    AND (
        %(datasets)s::text[] IS NULL
        OR i.dataset_id IN (SELECT d.dataset_id FROM dataset AS d WHERE d.name = any(%(datasets)s::text[]))
    )
    AND (%(modality)s::text IS NULL OR i.modality = %(modality)s)
    AND (%(region)s::text IS NULL OR i.region = %(region)s)
    AND (%(split)s::text IS NULL OR i.split = %(split)s)
ORDER BY i.image_id
