-- What an export of vectors will hold: rows, the longest uri in characters, whether any image is a further frame.
SELECT
    count(*) AS images,
    coalesce(max(length(i.uri)), 0) AS longest_uri,
    coalesce(bool_or(i.frame > 0), FALSE) AS several_frames
FROM {partition} AS b
INNER JOIN image AS i ON i.image_id = b.image_id
WHERE
    (%(dataset)s::text IS NULL OR i.dataset_id = (SELECT d.dataset_id FROM dataset AS d WHERE d.name = %(dataset)s))
    AND (%(split)s::text IS NULL OR i.split = %(split)s);
