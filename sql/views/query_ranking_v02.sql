-- query_ranking: what every metric starts from, one row per labelled query of a run, also where it has no hits.
-- relevant_ranks holds the ranks (from 1, ascending) of the hits of the query's class; relevant counts the index images
-- of that class that the query may retrieve; hit_label_ids has the class of each hit, 0 for a hit without exactly one.
-- Denner et al. 2024, section 2.4: relevant is what has the query's class. Queries without exactly one label are left
-- out. While function evaluation_query_without runs, which sets medcbir.left_out, hits that leak are left out.
-- OFFSET 0 keeps the planner from computing the ranks again for each N.
CREATE VIEW query_ranking AS
SELECT
    q.run_id,
    q.query_id,
    q.label_id,
    f.dataset_id,
    coalesce(w.relevant, q.relevant) AS relevant,
    coalesce(w.hit_label_ids, q.hit_label_ids) AS hit_label_ids,
    f.relevant_ranks
FROM run_query AS q
LEFT JOIN (
    SELECT
        s.run_id,
        h.query_id,
        h.relevant,
        h.hit_label_ids
    FROM
        jsonb_to_record(
            nullif(current_setting('medcbir.left_out', TRUE), '')::jsonb
        ) AS s (run_id integer, same_patient boolean, within double precision)
    CROSS JOIN LATERAL hits_without(s.run_id, s.same_patient, s.within) AS h
) AS w ON w.run_id = q.run_id AND w.query_id = q.query_id
CROSS JOIN
    LATERAL (
        SELECT
            i.dataset_id,
            array_positions(coalesce(w.hit_label_ids, q.hit_label_ids), q.label_id) AS relevant_ranks
        FROM image AS i
        WHERE i.image_id = q.query_id
        ORDER BY i.image_id
        OFFSET 0
    ) AS f
WHERE q.label_id IS NOT NULL;
