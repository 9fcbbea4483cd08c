-- Claims of workers that are gone: a worker lives while its session holds the advisory lock of its number.
DELETE FROM encode_claim AS c
WHERE
    c.encoder_id = %(encoder_id)s
    AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_locks AS l
        WHERE
            l.locktype = 'advisory' AND l.classid = %(lock_class)s AND l.objid::bigint = c.worker AND l.objsubid = 2
            AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    );
