-- The images that a run retrieves most often among the first k hits; they are found before anything else is looked up.
SELECT
    o.k,
    o.image_id,
    o.occurrences,
    o.bad_occurrences,
    d.name AS dataset,
    (
        SELECT min(l.name) FROM image_label AS c
        INNER JOIN label AS l ON l.label_id = c.label_id
        WHERE c.image_id = o.image_id
        HAVING count(*) = 1
    ) AS label,
    i.uri,
    i.frame
FROM (
    SELECT
        k,
        image_id,
        occurrences,
        bad_occurrences
    FROM k_occurrence
    WHERE run_id = %(run_id)s AND k = %(k)s
    ORDER BY occurrences DESC, image_id
    LIMIT %(images)s
) AS o
INNER JOIN image AS i ON i.image_id = o.image_id
INNER JOIN dataset AS d ON d.dataset_id = i.dataset_id
ORDER BY o.occurrences DESC, o.image_id;
