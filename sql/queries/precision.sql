-- Micro and macro P@N of a run by both definitions, as the rows that evaluate shows.
SELECT
    m.n,
    'micro' AS average,
    m.precision,
    m.precision_std,
    m.precision_capped,
    m.precision_capped_std,
    m.queries,
    m.undefined,
    NULL AS group_name
FROM precision_micro AS m
WHERE m.run_id = %(run_id)s AND m.n = any(%(n)s)
UNION ALL
SELECT
    m.n,
    'macro' AS average,
    m.precision,
    m.precision_std,
    m.precision_capped,
    m.precision_capped_std,
    m.queries,
    m.undefined,
    NULL AS group_name
FROM precision_macro AS m
WHERE m.run_id = %(run_id)s AND m.n = any(%(n)s)
ORDER BY average DESC, n;
