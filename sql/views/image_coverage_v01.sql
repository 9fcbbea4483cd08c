-- image_coverage: what an encoder has made of an image, one row per encoder and image.
-- state: done (has a vector), failed (the last try failed, for `reason`), no_file (catalogued without a file and has no
-- vector), stale (had a vector until its pixels changed, and waits for the new one), missing (waits to be encoded).
CREATE VIEW image_coverage AS
SELECT
    e.name AS encoder,
    d.name AS dataset,
    i.image_id,
    i.uri,
    i.frame,
    CASE
        WHEN b.image_id IS NOT NULL THEN 'done'
        WHEN r.rejected_id IS NOT NULL THEN 'failed'
        WHEN i.path IS NULL THEN 'no_file'
        WHEN s.image_id IS NOT NULL THEN 'stale'
        ELSE 'missing'
    END AS state,
    CASE WHEN b.image_id IS NULL THEN r.reason END AS reason
FROM encoder AS e
CROSS JOIN image AS i
INNER JOIN dataset AS d ON d.dataset_id = i.dataset_id
LEFT JOIN embedding AS b ON b.encoder_id = e.encoder_id AND b.image_id = i.image_id
LEFT JOIN
    rejected AS r
    ON r.stage = 'encode' AND r.encoder_id = e.encoder_id AND r.dataset = d.name AND r.uri = i.uri AND r.frame = i.frame
LEFT JOIN stale_vector AS s ON s.encoder_id = e.encoder_id AND s.image_id = i.image_id
WHERE e.retired_at IS NULL;
