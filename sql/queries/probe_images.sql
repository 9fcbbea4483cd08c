-- Images of a linear probe: those that have a vector, with their split (1 train, 2 val, 3 test) and class (0 for
-- none), of some datasets or all, without those of several labels (Denner et al. 2024, section 2.1).
SELECT
    i.image_id,
    array_position(ARRAY['train', 'val', 'test'], i.split)::bigint AS split,
    coalesce(c.label_id, 0)::bigint AS label_id
FROM image AS i
INNER JOIN {partition} AS b ON b.image_id = i.image_id
LEFT JOIN image_class AS c ON c.image_id = i.image_id
WHERE
    i.split IN ('train', 'val', 'test')
    AND (
        %(datasets)s::text[] IS NULL
        OR i.dataset_id IN (SELECT d.dataset_id FROM dataset AS d WHERE d.name = any(%(datasets)s::text[]))
    )
    AND (c.label_id IS NOT NULL OR NOT EXISTS (SELECT FROM image_label AS l WHERE l.image_id = i.image_id))
ORDER BY i.image_id
