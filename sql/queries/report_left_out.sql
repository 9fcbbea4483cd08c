-- What takes no part in an evaluation, in the datasets that some runs could draw from, by reason.
WITH drawn AS (
    SELECT d.dataset_id, d.name
    FROM dataset AS d
    WHERE EXISTS (
        SELECT 1
        FROM run AS r
        WHERE
            r.run_id = any(%(run_ids)s)
            AND d.name = coalesce(r.index_filter ->> 'dataset', d.name)
            AND coalesce(r.index_filter -> 'datasets' ? d.name, TRUE)
    )
),

labelled AS (
    SELECT
        i.image_id,
        CASE WHEN count(il.label_id) = 0 THEN 'no label' ELSE 'several labels' END AS reason
    FROM image AS i
    INNER JOIN drawn AS d ON d.dataset_id = i.dataset_id
    LEFT JOIN image_label AS il ON il.image_id = i.image_id
    GROUP BY i.image_id
    HAVING count(il.label_id) <> 1
)

SELECT
    c.reason,
    'image' AS kind,
    count(*) AS files
FROM labelled AS c
GROUP BY c.reason
UNION ALL
SELECT
    x.reason,
    x.kind,
    count(*) AS files
FROM rejected AS x
INNER JOIN drawn AS d ON d.name = x.dataset
GROUP BY x.reason, x.kind
ORDER BY files DESC, kind, reason;
