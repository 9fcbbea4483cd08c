-- What a copy of an encoder's vectors is valid for: how many there are, in which database, and in which row versions.
-- A row version (where it stands, which transaction wrote it) never changes its content; a restored backup has another
-- timeline, a rewritten table another file.
SELECT
    count(*) AS vectors,
    (
        SELECT concat_ws('/', s.system_identifier, d.oid) FROM pg_control_system() AS s, pg_database AS d
        WHERE d.datname = current_database()
    ) AS database,
    concat_ws(
        '/',
        (SELECT c.timeline_id FROM pg_control_checkpoint() AS c),
        pg_relation_filenode(%(partition)s::regclass),
        count(*),
        max(b.image_id),
        sum(hashint8extended(b.image_id, hash_record_extended(row(b.ctid, b.xmin), 0)))
    ) AS version
FROM {partition} AS b;
