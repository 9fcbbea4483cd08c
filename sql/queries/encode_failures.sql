-- The images that an encoder, or any, could not encode at its last try, and why.
SELECT
    encoder,
    dataset,
    image_id,
    uri,
    frame,
    reason
FROM image_coverage
WHERE state = 'failed' AND (%(encoder)s::text IS NULL OR encoder = %(encoder)s)
ORDER BY encoder, dataset, uri, frame;
