-- silhouette_query: how much nearer the hits of a query's own class are than those of the next other class, one row per
-- labelled query of a run; from -1 to 1, 0 where both are as near.
-- s = (b - a) / max(a, b) with a the mean cosine distance of the query's hits of its own class (own_distance), and b
-- the least mean distance of its hits of another class (other_distance, of other_label_id; of equals the lower id).
-- Source: Rousseeuw 1987, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis",
-- over the hits instead of all images: where a run keeps the whole index it is his. NULL where the hits lack either.
CREATE VIEW silhouette_query AS
SELECT
    q.run_id,
    q.query_id,
    q.label_id,
    f.own_distance,
    f.other_label_id,
    f.other_distance,
    CASE
        WHEN greatest(f.own_distance, f.other_distance) > 0
            THEN (f.other_distance - f.own_distance) / greatest(f.own_distance, f.other_distance)
        ELSE f.other_distance - f.own_distance
    END AS silhouette
FROM run_query AS q
CROSS JOIN
    LATERAL (
        SELECT
            min(c.distance) FILTER (WHERE c.label_id = q.label_id) AS own_distance,
            min(c.distance) FILTER (WHERE c.label_id <> q.label_id) AS other_distance,
            (array_agg(c.label_id ORDER BY c.distance, c.label_id) FILTER (WHERE c.label_id <> q.label_id))[1]
                AS other_label_id
        FROM (
            SELECT
                h.label_id,
                avg(h.distance) AS distance
            FROM unnest(q.hit_label_ids, q.hit_distances) AS h (label_id, distance)
            WHERE h.label_id > 0
            GROUP BY h.label_id
        ) AS c
    ) AS f
WHERE q.label_id IS NOT NULL;
