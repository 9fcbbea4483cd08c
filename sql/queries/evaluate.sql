-- Averages of some metrics of a run at some N, and of those that do not depend on N; within the groups of up to two
-- facets, 'all' standing for no division.
SELECT
    e.metric,
    e.n,
    e.average,
    e.value,
    e.std,
    e.queries,
    e.undefined,
    e.index_images,
    nullif(e.group_name, 'all') AS group_name,
    nullif(e.second_group, 'all') AS second_group
FROM evaluation AS e
WHERE
    e.run_id = %(run_id)s
    AND e.metric = any(%(metric)s)
    AND (e.n = any(%(n)s) OR e.n IS NULL)
    AND e.facet = %(facet)s
    AND e.second_facet = %(second_facet)s
    AND e.possible_only = %(possible_only)s
ORDER BY e.group_name, e.second_group, array_position(%(metric)s, e.metric), e.average DESC, e.n;
