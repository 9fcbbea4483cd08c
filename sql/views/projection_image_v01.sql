-- projection_image: the points of a map of embeddings with what their images show, one row per projection and image.
-- x and y have no unit: only which points are near each other means something. label, finding and kind (pathology or
-- anatomy) are of images with exactly one label, NULL for others; modality and region are the image's own, else its
-- label's. Denner et al. 2024, figure 5, colours by modality, region, and finding. Choose one projection_id.
CREATE VIEW projection_image AS
SELECT
    p.projection_id,
    p.image_id,
    p.x,
    p.y,
    coalesce(i.modality, l.modality) AS modality,
    coalesce(i.region, l.region) AS region,
    l.finding,
    l.name AS label,
    l.kind,
    d.name AS dataset,
    i.split
FROM projection_point AS p
INNER JOIN image AS i ON i.image_id = p.image_id
INNER JOIN dataset AS d ON d.dataset_id = i.dataset_id
LEFT JOIN image_class AS c ON c.image_id = p.image_id
LEFT JOIN label AS l ON l.label_id = c.label_id;
