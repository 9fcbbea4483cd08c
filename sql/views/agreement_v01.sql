-- agreement: how alike two runs retrieve, one row per pair of runs with common queries and n: means of agreement_query
-- over the queries that both have. Both orders of a pair have a row. Choose first_run_id, second_run_id and n.
CREATE VIEW agreement AS
SELECT
    first_run_id,
    second_run_id,
    n,
    count(*)::integer AS queries,
    avg(overlap) AS overlap,
    avg(jaccard) AS jaccard,
    avg(average_overlap) AS average_overlap
FROM agreement_query
GROUP BY first_run_id, second_run_id, n;
