-- Share of the first N hits that two runs both return, for some N.
SELECT
    a.n,
    a.overlap
FROM agreement AS a
WHERE a.first_run_id = %(first_run_id)s AND a.second_run_id = %(second_run_id)s AND a.n = any(%(n)s)
