-- Of these images, those that are still in the catalogue and still lack a vector of the encoder.
SELECT i.image_id
FROM image AS i
WHERE
    i.image_id = any(%(image_ids)s)
    AND NOT EXISTS (
        SELECT FROM embedding AS b WHERE b.encoder_id = %(encoder_id)s AND b.image_id = i.image_id
    );
