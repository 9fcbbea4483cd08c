-- The newest image that has both a file and a vector of the encoder.
SELECT
    i.image_id,
    i.path,
    i.frame
FROM image AS i
INNER JOIN embedding AS b ON b.image_id = i.image_id
WHERE b.encoder_id = %(encoder_id)s AND i.path IS NOT NULL
ORDER BY i.image_id DESC
LIMIT 1;
