-- Near duplicates among the hits of a run: other pixels, but a distance of at most %(within)s, the nearest first.
SELECT
    q.uri AS kept_uri,
    q.frame AS kept_frame,
    qd.name AS kept_dataset,
    q.split AS kept_split,
    i.uri,
    i.frame,
    d.name AS dataset,
    i.split,
    coalesce(q.split <> i.split, FALSE) AS leaks,
    h.distance
FROM hit AS h
INNER JOIN image AS q ON q.image_id = h.query_id
INNER JOIN dataset AS qd ON qd.dataset_id = q.dataset_id
INNER JOIN image AS i ON i.image_id = h.image_id
INNER JOIN dataset AS d ON d.dataset_id = i.dataset_id
WHERE
    h.run_id = %(run_id)s AND h.distance <= %(within)s
    AND q.pixel_sha256 IS DISTINCT FROM i.pixel_sha256
ORDER BY h.distance, h.query_id, h.image_id;
