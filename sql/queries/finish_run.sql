-- Makes an unfinished run one that views show; one without a name is called after its encoder and number.
INSERT INTO run (
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
    seconds,
    certificate
)
OVERRIDING SYSTEM VALUE
SELECT
    u.run_id,
    coalesce(
        u.name,
        concat_ws('-', e.name, u.run_id, (SELECT '2' FROM run AS r WHERE r.name = concat_ws('-', e.name, u.run_id)))
    ) AS name,
    u.encoder_id,
    u.n,
    u.engine,
    u.query_filter,
    u.index_filter,
    u.exclude_same_patient,
    u.exclude_same_study,
    u.exclude_duplicates,
    u.query_count,
    u.index_count,
    %(seconds)s::double precision,
    %(certificate)s::jsonb
FROM unfinished_run AS u
INNER JOIN encoder AS e ON e.encoder_id = u.encoder_id
WHERE u.run_id = %(run_id)s;
