-- metric_r_precision: relevant hits among the first R / R, R being the index images of the query's class that it may
-- retrieve. It does not depend on N (n is NULL). NULL where R is 0 or larger than the hits that the run keeps.
-- Source: Manning et al. 2009, "An Introduction to Information Retrieval", section 8.4.
CREATE VIEW metric_r_precision AS
SELECT
    q.run_id,
    q.query_id,
    q.label_id,
    q.dataset_id,
    q.relevant,
    NULL::integer AS n,
    CASE
        WHEN q.relevant <= r.n
            THEN width_bucket(q.relevant, q.relevant_ranks) / nullif(q.relevant, 0)::double precision
    END AS value
FROM query_ranking AS q
INNER JOIN run AS r ON r.run_id = q.run_id;
