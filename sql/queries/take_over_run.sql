-- A process goes on with an unfinished run whose processes are all gone, or starts it afresh. The time until the last
-- of them committed something counts as worked.
UPDATE unfinished_run AS u
SET
    snapshots = ARRAY[%(snapshot)s::text],
    workers = ARRAY[%(worker)s::integer],
    failure = NULL,
    contents_sha256 = %(contents_sha256)s,
    query_count = %(query_count)s,
    index_count = %(index_count)s,
    worked = (NOT %(afresh)s)::integer * (
        u.worked + coalesce((
            SELECT extract(EPOCH FROM max(b.answered_at) - u.started_at)::double precision FROM run_block AS b
            WHERE b.run_id = u.run_id AND b.answered_at > u.started_at
        ), 0)
    ),
    started_at = clock_timestamp()
WHERE u.run_id = %(run_id)s;
