-- P@N of a run beside that of another, and what the other has more; NULL without another, or where a value is
-- undefined. One row per average, definition and N.
WITH average AS (
    SELECT
        run_id,
        'micro' AS average,
        n,
        precision,
        precision_std,
        precision_capped,
        precision_capped_std,
        undefined
    FROM precision_micro
    UNION ALL
    SELECT
        run_id,
        'macro' AS average,
        n,
        precision,
        precision_std,
        precision_capped,
        precision_capped_std,
        undefined
    FROM precision_macro
),

metric AS (
    SELECT
        a.run_id,
        a.average,
        a.n,
        d.definition,
        d.value,
        d.std,
        d.undefined
    FROM average AS a
    CROSS JOIN
        LATERAL (
            VALUES
            ('paper', a.precision, a.precision_std, 0),
            ('capped', a.precision_capped, a.precision_capped_std, a.undefined)
        ) AS d (definition, value, std, undefined)
)

SELECT
    m.average,
    m.definition,
    m.n,
    m.value,
    m.std,
    m.undefined,
    o.value AS other,
    o.value - m.value AS gap
FROM metric AS m
LEFT JOIN metric AS o
    ON
        o.run_id = %(other_id)s
        AND o.average = m.average
        AND o.definition = m.definition
        AND o.n = m.n
WHERE m.run_id = %(run_id)s AND m.n = any(%(n)s)
ORDER BY m.average DESC, m.definition DESC, m.n;
