-- The unfinished run of a name; without a name the newest of those without one that were asked for alike.
SELECT
    run_id,
    contents_sha256,
    snapshots,
    failure,
    encoder_id,
    n,
    engine,
    query_filter,
    index_filter,
    exclude_same_patient,
    exclude_same_study,
    exclude_duplicates
FROM unfinished_run
WHERE
    name = %(name)s::text
    OR (
        %(name)s::text IS NULL
        AND name IS NULL
        AND encoder_id = %(encoder_id)s
        AND n = %(n)s
        AND (engine = %(engine)s OR %(engine)s = 'auto')
        AND query_filter = %(query_filter)s
        AND index_filter = %(index_filter)s
        AND exclude_same_patient = %(exclude_same_patient)s
        AND exclude_same_study = %(exclude_same_study)s
        AND exclude_duplicates = %(exclude_duplicates)s
    )
ORDER BY run_id DESC
LIMIT 1
FOR UPDATE;
