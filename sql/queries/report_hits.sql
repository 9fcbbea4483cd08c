-- The first hits of some queries of a run, with whether query and hit share their class; NULL where one has none.
SELECT
    h.query_id,
    h.rank,
    h.image_id,
    1 - h.distance AS similarity,
    qc.label_id = hc.label_id AS relevant
FROM hit AS h
LEFT JOIN image_class AS qc ON qc.image_id = h.query_id
LEFT JOIN image_class AS hc ON hc.image_id = h.image_id
WHERE h.run_id = %(run_id)s AND h.query_id = any(%(query_ids)s) AND h.rank <= %(n)s
ORDER BY h.query_id, h.rank;
