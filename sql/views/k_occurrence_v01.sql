-- k_occurrence: how often an index image is among the first k hits, one row per run, k and image that is, at any query.
-- bad_occurrences are those at a query of another class (both labelled): a hub that misleads.
-- Source: Radovanović et al. 2010, "Hubs in space: popular nearest neighbors in high-dimensional data", N_k and BN_k.
-- Choose run_id and k. Images that are never retrieved have no row.
CREATE VIEW k_occurrence AS
SELECT
    q.run_id,
    c.k,
    h.image_id,
    count(*)::integer AS occurrences,
    (count(*) FILTER (WHERE h.label_id > 0 AND h.label_id <> q.label_id))::integer AS bad_occurrences
FROM run AS r
CROSS JOIN LATERAL generate_series(1, r.n) AS c (k)
INNER JOIN run_query AS q ON q.run_id = r.run_id
CROSS JOIN LATERAL unnest(q.hit_ids[:c.k], q.hit_label_ids[:c.k]) AS h (image_id, label_id)
GROUP BY q.run_id, c.k, h.image_id;
