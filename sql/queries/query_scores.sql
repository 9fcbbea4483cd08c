-- Values of some metrics of each labelled query of a run, NaN where undefined: an array in the order of score_columns.
-- Every metric has a row for each of these queries and N, so that all arrays are equally long. The source is
-- view evaluation_query, or what function evaluation_query_without returns.
SELECT
    e.query_id,
    array_agg(coalesce(e.value, 'NaN') ORDER BY array_position(%(metric)s::text[], e.metric), e.n) AS score
FROM {source} AS e
WHERE
    e.run_id = %(run_id)s
    AND e.metric = any(%(metric)s)
    AND (e.n = any(%(n)s) OR e.n IS NULL)
    AND (e.relevant > 0 OR NOT %(possible_only)s)
GROUP BY e.query_id
