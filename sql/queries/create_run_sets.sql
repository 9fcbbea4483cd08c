-- Who takes part in a run, for the length of its transaction: images that have a vector and match the filter, with
-- their patient, class and picture: the image kept of all with the same decoded pixels where duplicates are excluded,
-- else the image itself. A query never retrieves its own picture.
-- Images with several labels stay out (Denner et al. 2024, section 2.1); those without a
-- label take part and are relevant to nothing.
CREATE TEMPORARY TABLE {table} ON COMMIT DROP AS
SELECT
    i.image_id,
    i.patient_id,
    c.label_id,
    coalesce(u.kept_image_id, i.image_id) AS picture_id
FROM image AS i
INNER JOIN {partition} AS b ON b.image_id = i.image_id
LEFT JOIN image_class AS c ON c.image_id = i.image_id
LEFT JOIN duplicate_image AS u ON %(exclude_duplicates)s AND u.image_id = i.image_id
WHERE
    (%(dataset)s::text IS NULL OR i.dataset_id = (SELECT d.dataset_id FROM dataset AS d WHERE d.name = %(dataset)s))
    AND (
        %(datasets)s::text[] IS NULL
        OR i.dataset_id IN (SELECT d.dataset_id FROM dataset AS d WHERE d.name = any(%(datasets)s::text[]))
    )
    AND (%(modality)s::text IS NULL OR i.modality = %(modality)s)
    AND (%(region)s::text IS NULL OR i.region = %(region)s)
    AND (%(split)s::text IS NULL OR i.split = %(split)s)
    AND (c.label_id IS NOT NULL OR NOT EXISTS (SELECT FROM image_label AS l WHERE l.image_id = i.image_id));
