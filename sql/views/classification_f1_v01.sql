-- classification_f1: precision, recall and F1 of a classification, one row per average, and per class ('class').
-- As scikit-learn's precision_recall_fscore_support over the classes that an image has or was predicted to have:
-- precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN); 0 where the denominator is 0.
-- micro sums TP, FP and FN over classes, macro is the mean over classes. An image without a prediction is a FN of its
-- class and nobody's FP. support counts images of the class; label_id is NULL for micro and macro. Fractions in [0, 1].
-- Denner et al. 2024, Table 4.
CREATE VIEW classification_f1 AS
WITH class AS (
    SELECT
        c.classification_id,
        s.label_id,
        sum(c.images) FILTER (WHERE c.label_id = s.label_id AND c.predicted_label_id = s.label_id) AS hits,
        sum(c.images) FILTER (WHERE c.label_id = s.label_id) AS support,
        sum(c.images) FILTER (WHERE c.predicted_label_id = s.label_id) AS predicted
    FROM classification_confusion AS c
    CROSS JOIN
        LATERAL (
            SELECT c.label_id
            UNION
            SELECT c.predicted_label_id WHERE c.predicted_label_id IS NOT NULL
        ) AS s
    GROUP BY c.classification_id, s.label_id
),

counted AS (
    SELECT
        classification_id,
        label_id,
        coalesce(hits, 0)::double precision AS hits,
        coalesce(support, 0)::double precision AS support,
        coalesce(predicted, 0)::double precision AS predicted
    FROM class
)

SELECT
    classification_id,
    'class' AS average,
    label_id,
    coalesce(hits / nullif(predicted, 0), 0) AS precision,
    coalesce(hits / nullif(support, 0), 0) AS recall,
    2 * hits / (support + predicted) AS f1,
    support::integer AS support,
    1 AS classes
FROM counted
UNION ALL
SELECT
    classification_id,
    'micro' AS average,
    NULL AS label_id,
    coalesce(sum(hits) / nullif(sum(predicted), 0), 0) AS precision,
    sum(hits) / sum(support) AS recall,
    2 * sum(hits) / (sum(support) + sum(predicted)) AS f1,
    sum(support)::integer AS support,
    count(*)::integer AS classes
FROM counted
GROUP BY classification_id
UNION ALL
SELECT
    classification_id,
    'macro' AS average,
    NULL AS label_id,
    avg(coalesce(hits / nullif(predicted, 0), 0)) AS precision,
    avg(coalesce(hits / nullif(support, 0), 0)) AS recall,
    avg(2 * hits / (support + predicted)) AS f1,
    sum(support)::integer AS support,
    count(*)::integer AS classes
FROM counted
GROUP BY classification_id;
