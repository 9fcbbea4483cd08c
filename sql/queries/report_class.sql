-- P@N of each class of a run, at the smallest and the largest N asked for, beside that of another run; with how many
-- patients the queries are of, and how many of the class's index images a query may retrieve (mean over queries).
SELECT
    l.name AS label,
    p.queries,
    s.patients,
    s.relevant,
    p.index_images,
    p.precision AS first_value,
    b.precision AS last_value,
    o.precision AS other_first,
    c.precision AS other_last
FROM precision_class AS p
INNER JOIN label AS l ON l.label_id = p.label_id
INNER JOIN precision_class AS b ON b.run_id = p.run_id AND b.label_id = p.label_id AND b.n = %(last)s
LEFT JOIN precision_class AS o ON o.run_id = %(other_id)s AND o.label_id = p.label_id AND o.n = p.n
LEFT JOIN precision_class AS c ON c.run_id = %(other_id)s AND c.label_id = p.label_id AND c.n = b.n
CROSS JOIN
    LATERAL (
        SELECT
            count(DISTINCT i.patient_id) AS patients,
            avg(q.relevant)::double precision AS relevant
        FROM run_query AS q
        INNER JOIN image AS i ON i.image_id = q.query_id
        WHERE q.run_id = p.run_id AND q.label_id = p.label_id
    ) AS s
WHERE p.run_id = %(run_id)s AND p.n = %(first)s
ORDER BY l.name;
