-- How a run was made, as far as it decides whether another may be compared with it.
SELECT
    r.query_filter,
    r.index_filter,
    array(SELECT (c.label_id, c.index_images)::text FROM run_class AS c WHERE c.run_id = r.run_id ORDER BY c.label_id)
        AS classes
FROM run AS r
WHERE r.run_id = %(run_id)s;
