-- refresh_filtered_image: rebuilds view filtered_image, all named filters as one; called when a filter comes or goes.
-- A filter is a view filter_<name> with the one column image_id. A query that asks for one filter by name does not
-- touch the others: the planner drops their branches.
CREATE FUNCTION refresh_filtered_image() RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    branches text;
BEGIN
    SELECT string_agg(
        format('SELECT %L::text AS filter, image_id FROM medcbir.%I', name, 'filter_' || name),
        E'\nUNION ALL\n' ORDER BY name
    )
    INTO branches
    FROM named_filter;

    EXECUTE 'CREATE OR REPLACE VIEW medcbir.filtered_image AS '
        || coalesce(branches, 'SELECT NULL::text AS filter, NULL::bigint AS image_id WHERE false');
    COMMENT ON VIEW medcbir.filtered_image IS 'one row per named filter and image that passes it';
END
$$;
