-- The next images that lack a vector of the encoder and that no living worker has, claimed for this worker.
-- SKIP LOCKED keeps workers that claim at the same moment from waiting for each other; the primary key of encode_claim
-- decides where one looked before the other had committed. The claim ends with the transaction that writes the vector.
-- What is encoded up to `after` is named in each condition, so that a plan that merges does not read it again.
WITH todo AS (
    SELECT i.image_id
    FROM image AS i
    WHERE
        i.image_id > %(after)s
        AND i.path IS NOT NULL
        AND (
            %(dataset)s::text IS NULL
            OR i.dataset_id = (SELECT d.dataset_id FROM dataset AS d WHERE d.name = %(dataset)s)
        )
        AND NOT EXISTS (
            SELECT FROM embedding AS b
            WHERE b.encoder_id = %(encoder_id)s AND b.image_id > %(after)s AND b.image_id = i.image_id
        )
        AND NOT EXISTS (
            SELECT FROM encode_claim AS c
            WHERE c.encoder_id = %(encoder_id)s AND c.image_id > %(after)s AND c.image_id = i.image_id
        )
        AND NOT EXISTS (
            SELECT
            FROM rejected AS r
            INNER JOIN dataset AS d ON d.name = r.dataset
            WHERE
                r.stage = 'encode' AND r.encoder_id = %(encoder_id)s
                AND d.dataset_id = i.dataset_id AND r.uri = i.uri AND r.frame = i.frame
        )
    ORDER BY i.image_id
    LIMIT %(size)s
    FOR NO KEY UPDATE OF i SKIP LOCKED
),

claimed AS (
    INSERT INTO encode_claim (encoder_id, image_id, worker)
    SELECT
        %(encoder_id)s,
        image_id,
        %(worker)s
    FROM todo
    ON CONFLICT DO NOTHING
    RETURNING image_id
)

SELECT
    i.image_id,
    d.name AS dataset,
    i.uri,
    i.frame,
    i.path,
    i.pixel_sha256
FROM claimed AS c
INNER JOIN image AS i ON i.image_id = c.image_id
INNER JOIN dataset AS d ON d.dataset_id = i.dataset_id
ORDER BY i.image_id;
