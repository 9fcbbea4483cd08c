-- hit: one row per retrieved image of a run; rank counts from 1, distance is pgvector's cosine distance.
-- A query without hits has no row here: start from run_query and LEFT JOIN.
CREATE VIEW hit AS
SELECT
    q.run_id,
    q.query_id,
    h.rank::integer AS rank,
    h.image_id,
    h.distance
FROM run_query AS q
CROSS JOIN LATERAL unnest(q.hit_ids, q.hit_distances) WITH ORDINALITY AS h (image_id, distance, rank);
