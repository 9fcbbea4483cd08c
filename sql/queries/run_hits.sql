-- Each query of a run with its hits, nearest first, as arrays: ids, uris (NULL where the image is gone), distances, and
-- whether the hit has the query's class, as the metric views count it. labelled: the query has exactly one label.
SELECT
    q.query_id,
    i.uri,
    q.label_id IS NOT NULL AS labelled,
    q.hit_ids,
    array(
        SELECT h.uri
        FROM unnest(q.hit_ids) WITH ORDINALITY AS t (image_id, rank)
        LEFT JOIN image AS h ON h.image_id = t.image_id
        ORDER BY t.rank
    ) AS hit_uris,
    q.hit_distances,
    array(
        SELECT coalesce(t.label_id = q.label_id, FALSE)
        FROM unnest(q.hit_label_ids) WITH ORDINALITY AS t (label_id, rank)
        ORDER BY t.rank
    ) AS relevant
FROM run_query AS q
INNER JOIN image AS i ON i.image_id = q.query_id
WHERE q.run_id = %(run_id)s
ORDER BY q.query_id
