-- Table 5 of Denner et al. 2024: images with exactly one label by dataset, modality and split, with their patients and
-- the classes among them by kind; a last row for all. Datasets are those that some runs could draw from.
SELECT
    d.name AS dataset,
    l.modality,
    grouping(d.name) = 1 AS total,
    count(*) AS images,
    count(DISTINCT i.patient_id) AS patients,
    count(*) FILTER (WHERE i.split = 'train') AS train,
    count(*) FILTER (WHERE i.split = 'val') AS val,
    count(*) FILTER (WHERE i.split = 'test') AS test,
    count(DISTINCT l.label_id) FILTER (WHERE l.kind = 'pathology') AS pathology,
    count(DISTINCT l.label_id) FILTER (WHERE l.kind = 'anatomy') AS anatomy
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
GROUP BY GROUPING SETS ((d.name, l.modality), ())
ORDER BY total, d.name, l.modality;
