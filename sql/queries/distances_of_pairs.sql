-- pgvector's own distance of each pair in run_pair, by its number.
SELECT
    p.number,
    q.v <=> b.v AS distance
FROM run_pair AS p
INNER JOIN {partition} AS q ON q.image_id = p.query_id
INNER JOIN {partition} AS b ON b.image_id = p.image_id
