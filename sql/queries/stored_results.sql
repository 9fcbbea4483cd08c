-- The classification, ablation or map of a name as a benchmark keeps it; only if it was made of these datasets.
SELECT r.facts
FROM (
    SELECT
        c.name,
        c.method AS kind,
        coalesce(q.query_filter, c.parameters) -> 'datasets' AS datasets,
        jsonb_strip_nulls(jsonb_build_object(
            'classification', c.classification_id, 'k', c.parameters -> 'k', 'epochs', c.certificate -> 'epochs_run'
        )) AS facts
    FROM classification AS c
    LEFT JOIN run AS q ON q.run_id = c.run_id
    UNION ALL
    SELECT
        a.name,
        'ablation' AS kind,
        a.query_filter -> 'datasets' AS datasets,
        jsonb_build_object(
            'ablation',
            a.ablation_id,
            'classes',
            (SELECT count(DISTINCT b.label_id) FROM ablation_class AS b WHERE b.ablation_id = a.ablation_id),
            'queries_per_class',
            a.queries_per_class
        ) AS facts
    FROM ablation AS a
    UNION ALL
    SELECT
        p.name,
        'map' AS kind,
        p.filter -> 'datasets' AS datasets,
        jsonb_build_object('projection', p.projection_id, 'images', p.image_count) AS facts
    FROM projection AS p
) AS r
WHERE r.name = %(name)s AND r.kind = %(kind)s AND r.datasets = %(datasets)s;
