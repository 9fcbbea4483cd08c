-- F1 and AUPRC of a classification (precision and recall too, per class), as the rows that classify shows.
SELECT
    m.metric,
    f.average,
    m.value,
    f.support AS queries,
    f.classes,
    0 AS undefined,
    l.name AS group_name
FROM classification_f1 AS f
CROSS JOIN
    LATERAL (
        VALUES (1, 'f1', f.f1), (2, 'precision', f.precision), (3, 'recall', f.recall)
    ) AS m (place, metric, value)
LEFT JOIN label AS l ON l.label_id = f.label_id
WHERE
    f.classification_id = %(classification_id)s
    AND (f.average = 'class') = %(by_class)s
    AND (m.metric = 'f1' OR %(by_class)s)
UNION ALL
SELECT
    'auprc' AS metric,
    a.average,
    a.auprc AS value,
    a.support AS queries,
    a.classes,
    a.undefined,
    l.name AS group_name
FROM classification_auprc AS a
LEFT JOIN label AS l ON l.label_id = a.label_id
WHERE a.classification_id = %(classification_id)s AND (a.average = 'class') = %(by_class)s
ORDER BY group_name NULLS FIRST, metric, average DESC;
