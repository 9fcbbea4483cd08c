-- The run of a name: whether it is finished, and whether it was asked for in this way.
SELECT
    r.run_id,
    r.query_count,
    r.finished,
    r.n = %(n)s
    AND r.query_filter = %(query_filter)s
    AND r.index_filter = %(index_filter)s
    AND r.exclude_same_patient = %(exclude_same_patient)s
    AND NOT r.exclude_same_study
    AND NOT r.exclude_duplicates
    AND r.encoder_id = (SELECT e.encoder_id FROM encoder AS e WHERE e.name = %(encoder)s) AS alike
FROM (
    SELECT
        run_id,
        name,
        encoder_id,
        n,
        query_filter,
        index_filter,
        exclude_same_patient,
        exclude_same_study,
        exclude_duplicates,
        query_count,
        TRUE AS finished
    FROM run
    UNION ALL
    SELECT
        run_id,
        name,
        encoder_id,
        n,
        query_filter,
        index_filter,
        exclude_same_patient,
        exclude_same_study,
        exclude_duplicates,
        query_count,
        FALSE AS finished
    FROM unfinished_run
) AS r
WHERE r.name = %(name)s;
