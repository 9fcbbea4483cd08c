-- average_precision: area under the precision-recall curve of a classification, one row per class that was scored or is
-- the label of an image, and one for all pooled (label_id NULL, the micro average); fractions in [0, 1].
-- AP = sum over thresholds of (R_n - R_(n-1)) P_n, as scikit-learn's average_precision_score: one class against the
-- rest, equal scores are one threshold, no interpolation. A class that has no score for an image scores 0 there.
-- auprc is NULL for a class that no image has (scikit-learn warns and says 0). Images without one label are left out.
-- Cases between two positives' scores share the lower one's threshold and need no order: so the scores are only put
-- into the buckets that the positives' scores bound, which needs no sort of all images x classes.
CREATE FUNCTION average_precision(scored_classification_id integer)
RETURNS TABLE (label_id integer, positives integer, auprc double precision)
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    WITH labelled AS MATERIALIZED (
        SELECT p.label_id, coalesce(p.label_ids, c.label_ids) AS label_ids, p.scores
        FROM prediction AS p
        INNER JOIN classification AS c ON c.classification_id = p.classification_id
        WHERE p.classification_id = scored_classification_id AND p.label_id IS NOT NULL
    ),

    positive AS MATERIALIZED (
        SELECT l.label_id, l.scores[array_position(l.label_ids, l.label_id)]::double precision AS score
        FROM labelled AS l
    ),

    class AS MATERIALIZED (
        SELECT either.label_id, count(p.label_id) AS positives
        FROM (
            SELECT unnest(c.label_ids) AS label_id
            FROM classification AS c
            WHERE c.classification_id = scored_classification_id
            UNION
            SELECT p.label_id FROM positive AS p
        ) AS either
        LEFT JOIN positive AS p ON p.label_id = either.label_id
        GROUP BY either.label_id
    ),

    extent AS (
        SELECT c.label_id, c.positives, (SELECT count(*) FROM labelled) AS cases FROM class AS c
        UNION ALL
        SELECT NULL, sum(c.positives), (SELECT count(*) FROM labelled) * count(*) FROM class AS c
    ),

    class_bound AS MATERIALIZED (
        SELECT p.label_id, array_agg(DISTINCT p.score ORDER BY p.score) AS scores
        FROM positive AS p
        WHERE p.score > 0
        GROUP BY p.label_id
    ),

    bound AS MATERIALIZED (
        SELECT array_agg(DISTINCT p.score ORDER BY p.score) AS scores FROM positive AS p WHERE p.score > 0
    ),

    tally AS (
        SELECT
            b.label_id,
            width_bucket(s.score::double precision, b.scores) AS bucket,
            count(*) AS cases,
            count(*) FILTER (WHERE s.label_id = l.label_id) AS positives
        FROM labelled AS l
        CROSS JOIN LATERAL unnest(l.label_ids, l.scores) AS s (label_id, score)
        INNER JOIN class_bound AS b ON b.label_id = s.label_id
        WHERE s.score >= b.scores[1]
        GROUP BY b.label_id, bucket
        UNION ALL
        SELECT
            NULL,
            width_bucket(s.score::double precision, b.scores) AS bucket,
            count(*) AS cases,
            count(*) FILTER (WHERE s.label_id = l.label_id) AS positives
        FROM bound AS b
        CROSS JOIN labelled AS l
        CROSS JOIN LATERAL unnest(l.label_ids, l.scores) AS s (label_id, score)
        WHERE s.score >= b.scores[1]
        GROUP BY bucket
    ),

    curve AS (
        SELECT
            t.label_id,
            t.positives,
            sum(t.positives) OVER above / sum(t.cases) OVER above::double precision AS precision
        FROM tally AS t
        WINDOW above AS (PARTITION BY t.label_id ORDER BY t.bucket DESC)
    ),

    area AS (
        SELECT c.label_id, sum(c.positives) AS found, sum(c.positives * c.precision) AS area
        FROM curve AS c
        GROUP BY c.label_id
    )

    SELECT
        e.label_id,
        e.positives::integer,
        -- positives of score 0 come last, with all cases
        (coalesce(a.area, 0) + (e.positives - coalesce(a.found, 0)) * e.positives / nullif(e.cases, 0)::double precision)
        / nullif(e.positives, 0)::double precision
    FROM extent AS e
    LEFT JOIN area AS a ON a.label_id IS NOT DISTINCT FROM e.label_id
$$;
