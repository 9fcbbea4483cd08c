-- drop_run: removes a run, finished or not, with all its hits, at once: they are one table, a partition of run_query.
CREATE FUNCTION drop_run(dropped_run_id integer) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    DELETE FROM unfinished_run WHERE run_id = dropped_run_id;
    EXECUTE format('DROP TABLE IF EXISTS %I', 'run_query_' || dropped_run_id);
    DELETE FROM run WHERE run_id = dropped_run_id;
END
$$;
