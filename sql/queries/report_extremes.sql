-- Queries that a run answers best and worst: by P@N, then by their digest under a seed; one of each class at most, and
-- so many on either side. 'best' ones first.
WITH scored AS (
    SELECT
        p.query_id,
        p.label_id,
        p.precision,
        md5(%(seed)s::text || i.uri || '#' || i.frame) AS lot
    FROM precision_query AS p
    INNER JOIN image AS i ON i.image_id = p.query_id
    WHERE p.run_id = %(run_id)s AND p.n = %(n)s
),

best AS (
    SELECT DISTINCT ON (label_id)
        query_id,
        precision,
        lot
    FROM scored
    ORDER BY label_id, precision DESC, lot
),

worst AS (
    SELECT DISTINCT ON (label_id)
        query_id,
        precision,
        lot
    FROM scored
    ORDER BY label_id, precision, lot
)

(SELECT 'best' AS side, query_id FROM best ORDER BY precision DESC, lot LIMIT %(queries)s)
UNION ALL
(SELECT 'worst' AS side, query_id FROM worst ORDER BY precision, lot LIMIT %(queries)s);
