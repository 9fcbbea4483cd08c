-- What distances_of_pairs answers, for pairs so many that reading the table once is faster than looking images up. The
-- joins are made in the order written: pairs and the vectors of queries are hashed, and the table goes by.
WITH query_vector AS MATERIALIZED (
    SELECT
        b.image_id,
        b.v
    FROM {partition} AS b
    WHERE b.image_id IN (SELECT p.query_id FROM run_pair AS p)
)

SELECT
    p.number,
    q.v <=> b.v AS distance
FROM {partition} AS b
INNER JOIN run_pair AS p ON p.image_id = b.image_id
INNER JOIN query_vector AS q ON q.image_id = p.query_id
