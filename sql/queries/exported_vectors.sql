-- The vectors of an encoder with the names of their images, each vector in pgvector's binary form.
SELECT
    i.uri,
    i.frame,
    vector_send(b.v) AS v
FROM {partition} AS b
INNER JOIN image AS i ON i.image_id = b.image_id
WHERE
    (%(dataset)s::text IS NULL OR i.dataset_id = (SELECT d.dataset_id FROM dataset AS d WHERE d.name = %(dataset)s))
    AND (%(split)s::text IS NULL OR i.split = %(split)s)
ORDER BY i.image_id
