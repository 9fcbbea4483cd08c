-- Images that a run could draw from, by modality, region and source, with a last row for all: how many, and of how many
-- patients or volumes. The source is an image's attribute of that name, else its dataset.
SELECT
    i.modality,
    i.region,
    coalesce(i.attributes ->> 'source', d.name) AS source,
    grouping(i.modality) = 1 AS total,
    count(*) AS images,
    count(DISTINCT i.patient_id) AS patients,
    count(*) FILTER (WHERE i.split = 'train') AS train,
    count(*) FILTER (WHERE i.split = 'val') AS val,
    count(*) FILTER (WHERE i.split = 'test') AS test
FROM run AS r
INNER JOIN dataset AS d ON d.name = coalesce(r.index_filter ->> 'dataset', d.name)
INNER JOIN image AS i ON i.dataset_id = d.dataset_id
WHERE r.run_id = %(run_id)s
GROUP BY GROUPING SETS ((i.modality, i.region, coalesce(i.attributes ->> 'source', d.name)), ())
ORDER BY total, i.modality, i.region, source;
