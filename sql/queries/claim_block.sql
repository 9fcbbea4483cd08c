-- The next block of queries of an unfinished run that is not answered and that no living worker has, claimed for this
-- worker. A worker lives while its session holds the advisory lock of its number. MATERIALIZED, since a join that asked
-- for the next block again for each row would claim several.
WITH next_block AS MATERIALIZED (
    SELECT o.block
    FROM run_block AS o
    WHERE
        o.run_id = %(run_id)s AND o.answered_at IS NULL
        AND (
            o.worker IS NULL
            OR NOT EXISTS (
                SELECT
                FROM pg_catalog.pg_locks AS l
                WHERE
                    l.locktype = 'advisory' AND l.classid = %(lock_class)s AND l.objid::bigint = o.worker
                    AND l.objsubid = 2
                    AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
            )
        )
    ORDER BY o.block
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)

UPDATE run_block AS b
SET worker = %(worker)s
FROM next_block AS n
WHERE b.run_id = %(run_id)s AND b.block = n.block
RETURNING b.block, b.first_query, b.last_query;
