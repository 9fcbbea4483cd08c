-- Runs that no view shows yet: being computed, interrupted, or failed. A run is being computed while a session holds
-- the advisory lock of one of its workers.
SELECT
    u.run_id,
    u.name,
    e.name AS encoder,
    u.n,
    u.engine,
    u.query_count,
    u.index_count,
    (
        SELECT coalesce(sum(b.last_query - b.first_query), 0) FROM run_block AS b
        WHERE b.run_id = u.run_id AND b.answered_at IS NOT NULL
    ) AS answered,
    CASE
        WHEN u.failure IS NOT NULL THEN 'failed'
        WHEN EXISTS (
            SELECT
            FROM pg_catalog.pg_locks AS l
            WHERE
                l.locktype = 'advisory' AND l.classid = %(lock_class)s AND l.objid::bigint IN (SELECT unnest(u.workers))
                AND l.objsubid = 2
                AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
        ) THEN 'running'
        ELSE 'interrupted'
    END AS state,
    u.failure
FROM unfinished_run AS u
INNER JOIN encoder AS e ON e.encoder_id = u.encoder_id
ORDER BY u.run_id DESC;
