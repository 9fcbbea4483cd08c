-- What a picture of an image needs: where its bytes are, whether its header says that text is burned into its pixels,
-- and its class, NULL for an image without exactly one label.
SELECT
    i.image_id,
    i.path,
    i.frame,
    coalesce(i.attributes ->> 'burned_in' = 'true', FALSE) AS burned_in,
    l.name AS label
FROM image AS i
LEFT JOIN image_class AS c ON c.image_id = i.image_id
LEFT JOIN label AS l ON l.label_id = c.label_id
WHERE i.image_id = any(%(image_ids)s);
