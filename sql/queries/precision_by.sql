-- P@N of a run within each group of a facet, as the rows that evaluate --by shows.
SELECT
    g.n,
    g.average,
    g.precision,
    g.precision_std,
    g.precision_capped,
    g.precision_capped_std,
    g.queries,
    g.undefined,
    g.group_name
FROM precision_group AS g
WHERE g.run_id = %(run_id)s AND g.n = any(%(n)s) AND g.facet = %(facet)s
ORDER BY g.group_name, g.average DESC, g.n;
