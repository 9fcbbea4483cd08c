-- The images that a run retrieves most often among the first k hits.
SELECT
    o.k,
    o.image_id,
    o.occurrences,
    o.bad_occurrences,
    d.name AS dataset,
    l.name AS label,
    i.uri,
    i.frame
FROM k_occurrence AS o
INNER JOIN image AS i ON i.image_id = o.image_id
INNER JOIN dataset AS d ON d.dataset_id = i.dataset_id
LEFT JOIN image_class AS c ON c.image_id = i.image_id
LEFT JOIN label AS l ON l.label_id = c.label_id
WHERE o.run_id = %(run_id)s AND o.k = %(k)s
ORDER BY o.occurrences DESC, o.image_id
LIMIT %(images)s;
