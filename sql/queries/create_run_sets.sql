-- Who takes part in a run, for the length of its transaction: images that match the filter, with their patient, class,
-- study and picture; encoded: they have a vector (the others are counted, and taken out). The picture is the image kept
-- of all with the same decoded pixels where duplicates are excluded, else the image itself: a query never retrieves its
-- own. The study is the first image of it, and only known where studies are excluded.
-- Images with several labels stay out (Denner et al. 2024, section 2.1); those without a label take part and are
-- relevant to nothing.
CREATE TEMPORARY TABLE {table} ON COMMIT DROP AS
SELECT
    i.image_id,
    i.patient_id,
    c.label_id,
    coalesce(u.kept_image_id, i.image_id) AS picture_id,
    s.study_id,
    b.image_id IS NOT NULL AS encoded
FROM image AS i
LEFT JOIN {partition} AS b ON b.image_id = i.image_id
LEFT JOIN image_class AS c ON c.image_id = i.image_id
LEFT JOIN duplicate_image AS u ON %(exclude_duplicates)s AND u.image_id = i.image_id
LEFT JOIN (
    SELECT
        study_uid,
        min(image_id) AS study_id
    FROM image
    GROUP BY study_uid
) AS s ON %(exclude_same_study)s AND s.study_uid = i.study_uid
WHERE
    (%(dataset)s::text IS NULL OR i.dataset_id = (SELECT d.dataset_id FROM dataset AS d WHERE d.name = %(dataset)s))
    AND (
        %(datasets)s::text[] IS NULL
        OR i.dataset_id IN (SELECT d.dataset_id FROM dataset AS d WHERE d.name = any(%(datasets)s::text[]))
    )
    AND (%(modality)s::text IS NULL OR i.modality = %(modality)s)
    AND (%(region)s::text IS NULL OR i.region = %(region)s)
    AND (%(split)s::text IS NULL OR i.split = %(split)s)
    AND (
        %(finding)s::text IS NULL
        OR i.image_id IN (
            SELECT l.image_id FROM image_label AS l
            INNER JOIN label AS f ON f.label_id = l.label_id
            WHERE f.finding = %(finding)s
        )
    )
    AND (
        %(named)s::text IS NULL
        OR EXISTS (SELECT FROM filtered_image AS f WHERE f.filter = %(named)s AND f.image_id = i.image_id)
    )
    AND (c.label_id IS NOT NULL OR NOT EXISTS (SELECT FROM image_label AS l WHERE l.image_id = i.image_id));
