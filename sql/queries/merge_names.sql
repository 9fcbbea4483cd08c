-- Names that the batch brings: its datasets, patients and labels.
INSERT INTO dataset (name)
SELECT DISTINCT dataset
FROM incoming
ORDER BY dataset
ON CONFLICT DO NOTHING;

INSERT INTO patient (dataset_id, source_id)
SELECT DISTINCT
    d.dataset_id,
    i.patient
FROM incoming AS i
INNER JOIN dataset AS d ON d.name = i.dataset
WHERE i.patient IS NOT NULL
ORDER BY d.dataset_id, i.patient
ON CONFLICT DO NOTHING;
