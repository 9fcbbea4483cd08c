-- Exact duplicates with both names, those that leak between splits first.
SELECT
    k.uri AS kept_uri,
    k.frame AS kept_frame,
    kd.name AS kept_dataset,
    k.split AS kept_split,
    i.uri,
    i.frame,
    d.name AS dataset,
    i.split,
    u.leaks
FROM duplicate_image AS u
INNER JOIN image AS k ON k.image_id = u.kept_image_id
INNER JOIN dataset AS kd ON kd.dataset_id = k.dataset_id
INNER JOIN image AS i ON i.image_id = u.image_id
INNER JOIN dataset AS d ON d.dataset_id = i.dataset_id
ORDER BY u.leaks DESC, u.kept_image_id, u.image_id;
