-- A new unfinished run, unless another process has begun one of the same name in this moment; since is how long ago, in
-- seconds, its work began.
INSERT INTO unfinished_run (
    run_id,
    name,
    encoder_id,
    n,
    engine,
    query_filter,
    index_filter,
    exclude_same_patient,
    exclude_same_study,
    exclude_duplicates,
    query_count,
    index_count,
    contents_sha256,
    snapshots,
    workers,
    started_at
)
VALUES (
    nextval(pg_get_serial_sequence('run', 'run_id')),
    %(name)s,
    %(encoder_id)s,
    %(n)s,
    %(engine)s,
    %(query_filter)s,
    %(index_filter)s,
    %(exclude_same_patient)s,
    %(exclude_same_study)s,
    %(exclude_duplicates)s,
    %(query_count)s,
    %(index_count)s,
    %(contents_sha256)s,
    ARRAY[%(snapshot)s::text],
    ARRAY[%(worker)s::integer],
    clock_timestamp() - make_interval(secs => %(since)s)
)
ON CONFLICT (name) DO NOTHING
RETURNING run_id;
