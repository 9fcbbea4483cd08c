-- Files and rows that could not be used, by reason, in the datasets that a run could draw from.
SELECT
    x.kind,
    x.reason,
    count(*) AS files
FROM run AS r
INNER JOIN rejected AS x ON x.dataset = coalesce(r.index_filter ->> 'dataset', x.dataset)
WHERE r.run_id = %(run_id)s
GROUP BY x.kind, x.reason
ORDER BY files DESC, x.kind, x.reason;
