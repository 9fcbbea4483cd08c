-- drop_filter: removes a named filter; for its administrator. Runs that used it keep its name among their parameters.
-- Raises where there is none of this name.
CREATE FUNCTION drop_filter(dropped_name text) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM named_filter WHERE name = dropped_name) THEN
        RAISE undefined_object USING MESSAGE = format('no filter %L in this database', dropped_name);
    END IF;
    EXECUTE format('ALTER VIEW medcbir.%I RENAME TO %I', 'filter_' || dropped_name, 'dropped_filter');
    PERFORM refresh_filtered_image();
    DROP VIEW medcbir.dropped_filter;
END
$$;
REVOKE ALL ON FUNCTION drop_filter FROM public;
