-- Of these images, those whose pixels are still the ones that were encoded; locked, so that a new ingest of a changed
-- file waits for the vector, sees it, and removes it.
SELECT i.image_id
FROM unnest(%(image_ids)s::bigint[], %(digests)s::bytea[]) AS encoded (image_id, pixel_sha256)
INNER JOIN image AS i ON encoded.image_id = i.image_id
WHERE i.pixel_sha256 IS NOT DISTINCT FROM encoded.pixel_sha256
ORDER BY i.image_id
FOR SHARE OF i;
