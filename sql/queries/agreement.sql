-- How alike two runs retrieve, for some N: means over the queries that both have.
SELECT
    a.n,
    a.queries,
    a.overlap,
    a.jaccard,
    a.average_overlap
FROM agreement AS a
WHERE a.first_run_id = %(first_run_id)s AND a.second_run_id = %(second_run_id)s AND a.n = any(%(n)s)
ORDER BY a.n;
