-- How runs were made and what vouches for them, in the order asked.
SELECT
    r.run_id,
    r.name,
    e.name AS encoder,
    r.n,
    r.engine,
    r.query_filter,
    r.index_filter,
    r.exclude_same_patient,
    r.exclude_duplicates,
    r.query_count,
    r.index_count,
    r.seconds,
    r.certificate
FROM run AS r
INNER JOIN encoder AS e ON e.encoder_id = r.encoder_id
WHERE r.name = any(%(names)s)
ORDER BY array_position(%(names)s, r.name);
