-- knn_vote: the classes that the first k hits of each query vote for, one row per query of a run.
-- weights 'uniform': a hit has one vote; 'similarity': a hit has 1 - distance votes, at least 0. A hit without exactly
-- one label votes for nobody. A class's score is its share of all votes cast, so the scores of a query sum to 1.
-- predicted_label_id has the most votes; of several, the one whose nearest hit is nearest. It is NULL, and the arrays
-- are empty, where nothing votes. The query's own label is handed through and never looked at.
-- The vote of Cover and Hart 1967; Denner et al. 2024, section 3, Table 4.
CREATE FUNCTION knn_vote(voting_run_id integer, k integer, weights text DEFAULT 'uniform')
RETURNS TABLE (query_id bigint, label_id integer, predicted_label_id integer, label_ids integer[], scores real[])
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT q.query_id, q.label_id, v.label_ids[1], coalesce(v.label_ids, '{}'), coalesce(v.scores, '{}')
    FROM run_query AS q
    CROSS JOIN LATERAL (
        SELECT
            array_agg(t.label_id ORDER BY t.votes DESC, t.nearest) AS label_ids,
            array_agg((t.votes / t.cast_votes)::real ORDER BY t.votes DESC, t.nearest) AS scores
        FROM (
            SELECT
                c.label_id,
                c.votes,
                c.nearest,
                sum(c.votes) OVER () AS cast_votes
            FROM (
                SELECT
                    h.label_id,
                    min(h.rank) AS nearest,
                    CASE weights
                        WHEN 'uniform' THEN count(*)::double precision
                        WHEN 'similarity' THEN sum(greatest(1 - h.distance, 0) ORDER BY h.rank)
                    END AS votes
                FROM unnest(q.hit_label_ids[:k], q.hit_distances[:k]) WITH ORDINALITY AS h (label_id, distance, rank)
                WHERE h.label_id > 0
                GROUP BY h.label_id
            ) AS c
            WHERE c.votes > 0
        ) AS t
    ) AS v
    WHERE q.run_id = voting_run_id
$$;
