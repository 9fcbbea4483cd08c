-- What the columns of query_scores are: a metric and N (NULL: it does not depend on N), seen on the first query.
SELECT
    e.metric,
    e.n
FROM evaluation_query AS e
WHERE
    e.run_id = %(run_id)s
    AND e.query_id = (
        SELECT min(q.query_id) FROM run_query AS q WHERE q.run_id = %(run_id)s AND q.label_id IS NOT NULL
    )
    AND e.metric = any(%(metric)s)
    AND (e.n = any(%(n)s) OR e.n IS NULL)
ORDER BY array_position(%(metric)s::text[], e.metric), e.n
