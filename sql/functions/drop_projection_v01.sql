-- drop_projection: removes a map with all its points, at once: they are one partition of projection_point.
CREATE FUNCTION drop_projection(dropped_projection_id integer) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', 'projection_point_' || dropped_projection_id);
    DELETE FROM projection WHERE projection_id = dropped_projection_id;
END
$$;
