-- drop_run: removes a run with all its hits, at once: they are one partition of run_query.
CREATE FUNCTION drop_run(dropped_run_id integer) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', 'run_query_' || dropped_run_id);
    DELETE FROM run WHERE run_id = dropped_run_id;
END
$$;
