-- Whether any patient of these datasets has images in both train and test: 1, or 0.
SELECT count(*) AS found
FROM (
    SELECT q.patient_id
    FROM image AS q
    INNER JOIN image AS x ON x.patient_id = q.patient_id AND x.split = 'train'
    WHERE
        q.split = 'test'
        AND q.dataset_id IN (SELECT d.dataset_id FROM dataset AS d WHERE d.name = any(%(datasets)s::text[]))
    ORDER BY q.patient_id
    LIMIT 1
) AS one;
