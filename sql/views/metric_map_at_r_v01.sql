-- metric_map_at_r: sum over relevant hits among the first R of P@(its rank) / R, R being the index images of
-- the query's class that it may retrieve. It does not depend on N (n is NULL). NULL where R is 0 or larger than the
-- hits that the run keeps. Source: Musgrave et al. 2020, "A Metric Learning Reality Check", section 3.1.
CREATE VIEW metric_map_at_r AS
SELECT
    q.run_id,
    q.query_id,
    q.label_id,
    q.dataset_id,
    q.relevant,
    NULL::integer AS n,
    CASE
        WHEN q.relevant <= r.n
            THEN
                coalesce(
                    (
                        SELECT sum(h.number / h.rank::double precision)
                        FROM unnest(q.relevant_ranks) WITH ORDINALITY AS h (rank, number)
                        WHERE h.rank <= q.relevant
                    ),
                    0
                ) / nullif(q.relevant, 0)
    END AS value
FROM query_ranking AS q
INNER JOIN run AS r ON r.run_id = q.run_id;
