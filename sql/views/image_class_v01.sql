-- image_class: the class of each image that has exactly one label; images with none or several have no row.
-- Denner et al. 2024, section 2.1: evaluation keeps to single-label images.
CREATE VIEW image_class AS
SELECT
    image_id,
    min(label_id) AS label_id
FROM image_label
GROUP BY image_id
HAVING count(*) = 1;
