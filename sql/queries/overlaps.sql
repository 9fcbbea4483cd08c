-- Share of the first N hits that two runs both return, of each query of both: an array in the order of N.
SELECT
    a.query_id,
    array_agg(a.overlap ORDER BY a.n) AS overlap
FROM agreement_query AS a
WHERE a.first_run_id = %(first_run_id)s AND a.second_run_id = %(second_run_id)s AND a.n = any(%(n)s)
GROUP BY a.query_id
ORDER BY a.query_id
