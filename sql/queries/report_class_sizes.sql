-- Figure 4 of Denner et al. 2024: images of each class by split, among those with exactly one label, the largest first.
-- Datasets are those that some runs could draw from.
SELECT
    l.name AS label,
    l.modality,
    l.kind,
    count(*) FILTER (WHERE i.split = 'train') AS train,
    count(*) FILTER (WHERE i.split = 'val') AS val,
    count(*) FILTER (WHERE i.split = 'test') AS test,
    count(*) AS images
FROM image_class AS c
INNER JOIN image AS i ON i.image_id = c.image_id
INNER JOIN label AS l ON l.label_id = c.label_id
INNER JOIN dataset AS d ON d.dataset_id = i.dataset_id
WHERE
    EXISTS (
        SELECT 1
        FROM run AS r
        WHERE
            r.run_id = any(%(run_ids)s)
            AND d.name = coalesce(r.index_filter ->> 'dataset', d.name)
            AND coalesce(r.index_filter -> 'datasets' ? d.name, TRUE)
    )
GROUP BY l.name, l.modality, l.kind
ORDER BY images DESC, label;
