-- classification_auprc: area under the precision-recall curve, one row per average, and per class ('class').
-- Computed by function average_precision, as scikit-learn's average_precision_score. micro pools all pairs of an image
-- and a class; macro is the mean over classes that an image has; the others have no value, are left out of macro, and
-- are counted as undefined. support counts the images of the class; label_id is NULL for micro and macro.
-- Ask for one classification_id: each is computed anew. Denner et al. 2024, Table 4.
CREATE VIEW classification_auprc AS
SELECT
    c.classification_id,
    m.average,
    m.label_id,
    m.auprc,
    m.support,
    m.classes,
    m.undefined
FROM classification AS c
CROSS JOIN LATERAL (
    WITH area AS MATERIALIZED (
        SELECT
            a.label_id,
            a.positives,
            a.auprc
        FROM average_precision(c.classification_id) AS a
    )

    SELECT
        'class' AS average,
        a.label_id,
        a.auprc,
        a.positives AS support,
        1 AS classes,
        (a.auprc IS NULL)::integer AS undefined
    FROM area AS a
    WHERE a.label_id IS NOT NULL
    UNION ALL
    SELECT
        'micro' AS average,
        NULL AS label_id,
        max(a.auprc) FILTER (WHERE a.label_id IS NULL) AS auprc,
        max(a.positives) FILTER (WHERE a.label_id IS NULL) AS support,
        count(a.label_id)::integer AS classes,
        0 AS undefined
    FROM area AS a
    UNION ALL
    SELECT
        'macro' AS average,
        NULL AS label_id,
        avg(a.auprc) AS auprc,
        sum(a.positives)::integer AS support,
        count(*)::integer AS classes,
        (count(*) - count(a.auprc))::integer AS undefined
    FROM area AS a
    WHERE a.label_id IS NOT NULL
) AS m;
