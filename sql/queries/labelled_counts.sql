-- Images with exactly one label, those that an evaluation goes over: how many of each dataset, modality of the label
-- and split there are, and of how many the file is known.
SELECT
    d.name AS dataset,
    l.modality,
    i.split,
    count(*) AS images,
    count(i.path) AS with_file
FROM image AS i
INNER JOIN dataset AS d ON d.dataset_id = i.dataset_id
INNER JOIN image_class AS c ON c.image_id = i.image_id
INNER JOIN label AS l ON l.label_id = c.label_id
GROUP BY d.name, l.modality, i.split
ORDER BY d.name, l.modality, i.split;
