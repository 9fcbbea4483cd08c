-- The newest run that answers as a new one of the same encoder, splits, datasets and patient rule would, and keeps
-- enough hits: its queries, their classes and its index's classes are those of the catalogue now, and no vector has
-- been written since.
WITH member AS MATERIALIZED (
    SELECT
        i.image_id,
        i.split,
        c.label_id
    FROM image AS i
    INNER JOIN {partition} AS b ON b.image_id = i.image_id
    LEFT JOIN image_class AS c ON c.image_id = i.image_id
    WHERE
        i.split IN (%(queries)s, %(index)s)
        AND (
            %(datasets)s::text[] IS NULL
            OR i.dataset_id IN (SELECT d.dataset_id FROM dataset AS d WHERE d.name = any(%(datasets)s::text[]))
        )
        AND (c.label_id IS NOT NULL OR NOT EXISTS (SELECT FROM image_label AS l WHERE l.image_id = i.image_id))
)

SELECT r.name
FROM run AS r
WHERE
    r.encoder_id = %(encoder_id)s
    AND r.n >= %(n)s
    AND r.query_filter = %(query_filter)s
    AND r.index_filter = %(index_filter)s
    AND r.exclude_same_patient = %(exclude_same_patient)s
    AND NOT r.exclude_duplicates
    AND NOT r.exclude_same_study
    AND r.index_count = (SELECT count(*) FROM member AS m WHERE m.split = %(index)s)
    AND r.query_count = (SELECT count(*) FROM member AS m WHERE m.split = %(queries)s)
    AND NOT EXISTS (
        SELECT FROM member AS m
        LEFT JOIN run_query AS q ON q.run_id = r.run_id AND q.query_id = m.image_id
        WHERE m.split = %(queries)s AND (q.query_id IS NULL OR q.label_id IS DISTINCT FROM m.label_id)
    )
    AND NOT EXISTS (
        SELECT FROM (
            SELECT c.label_id, c.index_images FROM run_class AS c WHERE c.run_id = r.run_id
        ) AS c
        FULL JOIN (
            SELECT m.label_id, count(*) AS images
            FROM member AS m
            WHERE m.split = %(index)s AND m.label_id IS NOT NULL
            GROUP BY m.label_id
        ) AS n ON n.label_id = c.label_id
        WHERE n.images IS DISTINCT FROM c.index_images
    )
    AND NOT EXISTS (SELECT FROM {partition} AS b WHERE age(b.xmin) < age(r.xmin))
ORDER BY r.run_id DESC
LIMIT 1;
