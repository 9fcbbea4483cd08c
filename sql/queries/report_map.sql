-- Figure 5 of Denner et al. 2024: where a projection puts its images, a row of arrays for each group of them that a
-- reader may tell apart; NULL where an image has no single label. Coordinates are of the projection's own scale.
SELECT
    p.modality,
    p.region,
    p.finding,
    p.kind,
    p.dataset,
    array_agg(p.x::real) AS x,
    array_agg(p.y::real) AS y
FROM projection_image AS p
WHERE p.projection_id = %(projection_id)s
GROUP BY p.modality, p.region, p.finding, p.kind, p.dataset
ORDER BY p.modality, p.region, p.finding, p.kind, p.dataset;
