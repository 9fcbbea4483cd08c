-- Queries to show of a run: one of each class, drawn by a seed, at most so many classes (drawn too), in order of class.
-- Drawn by digest of uri and frame, so a rebuilt database shows the same.
WITH drawn AS (
    SELECT DISTINCT ON (q.label_id)
        q.query_id,
        l.name,
        md5(%(seed)s::text || l.name) AS lot
    FROM run_query AS q
    INNER JOIN image AS i ON i.image_id = q.query_id
    INNER JOIN label AS l ON l.label_id = q.label_id
    WHERE q.run_id = %(run_id)s
    ORDER BY q.label_id, md5(%(seed)s::text || i.uri || '#' || i.frame)
),

kept AS (
    SELECT
        query_id,
        name
    FROM drawn
    ORDER BY lot
    LIMIT %(classes)s
)

SELECT query_id
FROM kept
ORDER BY name;
