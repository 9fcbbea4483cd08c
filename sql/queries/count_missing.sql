-- How many images with a file lack a vector of the encoder.
SELECT count(*)
FROM image AS i
WHERE
    i.path IS NOT NULL
    AND (
        %(dataset)s::text IS NULL
        OR i.dataset_id = (SELECT d.dataset_id FROM dataset AS d WHERE d.name = %(dataset)s)
    )
    AND NOT EXISTS (
        SELECT FROM embedding AS b WHERE b.encoder_id = %(encoder_id)s AND b.image_id = i.image_id
    );
