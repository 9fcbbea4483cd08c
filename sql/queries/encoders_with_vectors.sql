-- Encoders with vectors of images of these datasets.
SELECT
    e.name,
    e.imported
FROM encoder AS e
WHERE
    EXISTS (
        SELECT FROM embedding AS b
        INNER JOIN image AS i ON i.image_id = b.image_id
        WHERE
            b.encoder_id = e.encoder_id
            AND i.dataset_id IN (SELECT d.dataset_id FROM dataset AS d WHERE d.name = any(%(datasets)s::text[]))
    )
ORDER BY e.name;
