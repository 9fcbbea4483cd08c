-- What a copy of an encoder's vectors is valid for: in which database, and after which changes (see vector_change).
-- removals are the changes that did more than add vectors. A restored backup has another timeline, a rewritten or
-- truncated table another file.
SELECT
    (
        SELECT concat_ws('/', s.system_identifier, d.oid) FROM pg_control_system() AS s, pg_database AS d
        WHERE d.datname = current_database()
    ) AS database,
    concat_ws(
        '/',
        (SELECT t.timeline_id FROM pg_control_checkpoint() AS t),
        pg_relation_filenode(%(partition)s::regclass),
        count(*),
        max(c.change_id),
        sum(hashint8extended(c.change_id, 0))
    ) AS version,
    concat_ws(
        '/',
        (SELECT t.timeline_id FROM pg_control_checkpoint() AS t),
        pg_relation_filenode(%(partition)s::regclass),
        count(*) FILTER (WHERE NOT c.additive),
        max(c.change_id) FILTER (WHERE NOT c.additive),
        sum(hashint8extended(c.change_id, 0)) FILTER (WHERE NOT c.additive)
    ) AS removals
FROM vector_change AS c
WHERE c.encoder_id = %(encoder_id)s
