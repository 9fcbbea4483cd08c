-- Keeps the log of changes short: of those that only added vectors to an encoder, the newest are enough to tell that
-- something has been added since.
DELETE FROM vector_change
WHERE
    change_id IN (
        SELECT c.change_id FROM vector_change AS c
        WHERE c.encoder_id = %(encoder_id)s AND c.additive
        ORDER BY c.change_id DESC
        OFFSET 1000
        FOR UPDATE SKIP LOCKED
    );
