-- Hits of a run's labelled queries in order: whether each is relevant, of the query's patient, or a duplicate of it
-- (1 or 0). Ordered by query and rank.
SELECT
    q.query_id,
    h.rank,
    (q.hit_label_ids[h.rank] IS NOT DISTINCT FROM q.label_id)::integer AS relevant,
    coalesce(l.same_patient, FALSE)::integer AS same_patient,
    coalesce(l.same_pixels OR l.near_duplicate, FALSE)::integer AS duplicate
FROM run_query AS q
INNER JOIN hit AS h ON h.run_id = q.run_id AND h.query_id = q.query_id
LEFT JOIN leaked_hit(%(run_id)s, %(within)s) AS l ON l.query_id = h.query_id AND l.rank = h.rank
WHERE q.run_id = %(run_id)s AND q.label_id IS NOT NULL
ORDER BY q.query_id, h.rank
