-- The images of lock_unchanged that still lack a vector of the encoder.
SELECT i.image_id
FROM unnest(%(image_ids)s::bigint[], %(digests)s::bytea[]) AS encoded (image_id, pixel_sha256)
INNER JOIN image AS i ON encoded.image_id = i.image_id
WHERE
    i.pixel_sha256 IS NOT DISTINCT FROM encoded.pixel_sha256
    AND NOT EXISTS (
        SELECT FROM embedding AS b WHERE b.encoder_id = %(encoder_id)s AND b.image_id = i.image_id
    )
ORDER BY i.image_id
FOR SHARE OF i;
