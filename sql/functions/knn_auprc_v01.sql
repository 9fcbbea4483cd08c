-- knn_auprc: micro-averaged area under the precision-recall curve of a run's vote for one k; NULL without labelled
-- queries. What chooses k on validation queries.
-- Average precision as scikit-learn defines it (average_precision_score, average='micro'): every pair of a query and a
-- class is one case, positive where the class is the query's; equal scores are one threshold; a class without votes
-- has score 0. The classes are those of the run's index and of its queries.
CREATE FUNCTION knn_auprc(voting_run_id integer, k integer, weights text DEFAULT 'uniform') RETURNS double precision
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    WITH extent AS (
        SELECT
            count(q.label_id)::double precision AS queries,
            (
                SELECT count(*) FROM (
                    SELECT c.label_id FROM run_class AS c WHERE c.run_id = voting_run_id
                    UNION
                    SELECT r.label_id FROM run_query AS r
                    WHERE r.run_id = voting_run_id AND r.label_id IS NOT NULL
                ) AS either
            ) AS classes
        FROM run_query AS q
        WHERE q.run_id = voting_run_id
    ),

    tally AS (
        SELECT s.score, count(*) AS cases, count(*) FILTER (WHERE s.label_id = v.label_id) AS positives
        FROM knn_vote(voting_run_id, k, weights) AS v
        CROSS JOIN LATERAL unnest(v.label_ids, v.scores) AS s (label_id, score)
        WHERE v.label_id IS NOT NULL
        GROUP BY s.score
    ),

    curve AS (
        SELECT positives, sum(positives) OVER above / sum(cases) OVER above::double precision AS precision
        FROM tally
        WINDOW above AS (ORDER BY score DESC)
    )

    SELECT
        (
            coalesce((SELECT sum(c.positives * c.precision) FROM curve AS c), 0)
            + (e.queries - coalesce((SELECT sum(t.positives) FROM tally AS t), 0)) / e.classes
        ) / nullif(e.queries, 0)
    FROM extent AS e
    WHERE e.queries > 0
$$;
