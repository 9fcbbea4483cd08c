-- add_filter: defines a named filter by an SQL predicate on the columns of image; searches and runs use it by name.
-- For administrators: it makes a view filter_<name>, so the caller needs the right to create in schema medcbir, and the
-- view reads images with that right. PostgreSQL checks the predicate when it makes the view.
-- The predicate must be one expression: no statement end, comment, or parenthesis that closes more than it opens.
-- Raises for a bad or taken name, a predicate that is more than an expression, and what PostgreSQL cannot parse.
CREATE FUNCTION add_filter(new_name text, predicate text) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    -- what stands outside of quotes
    bare text := regexp_replace(predicate, $quoted$'([^']|'')*'|"([^"]|"")*"$quoted$, '', 'g');
    depth integer := 0;
    mark text;
BEGIN
    IF new_name IS NULL OR new_name !~ '^[a-z][a-z0-9_]{0,49}$' THEN
        RAISE invalid_parameter_value USING MESSAGE =
            format('a filter cannot be called %L: use a small letter and up to 49 more, digits and _', new_name);
    END IF;
    IF to_regclass(format('medcbir.%I', 'filter_' || new_name)) IS NOT NULL THEN
        RAISE duplicate_object USING MESSAGE = format('a filter named %L exists', new_name);
    END IF;
    IF predicate IS NULL OR bare ~ $outside$;|--|/\*|\$|'|"$outside$ OR predicate ~ '\\' THEN
        RAISE invalid_parameter_value USING MESSAGE =
            'a filter is one SQL expression, without semicolon, comment, dollar quote or backslash';
    END IF;
    FOREACH mark IN ARRAY regexp_split_to_array(regexp_replace(bare, '[^()]', '', 'g'), '') LOOP
        depth := depth + CASE mark WHEN '(' THEN 1 WHEN ')' THEN -1 ELSE 0 END;
        IF depth < 0 THEN
            EXIT;
        END IF;
    END LOOP;
    IF depth <> 0 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'the parentheses of the filter do not match';
    END IF;

    EXECUTE format('CREATE VIEW medcbir.%I AS SELECT image.image_id FROM medcbir.image WHERE (%s)',
        'filter_' || new_name, predicate);
    EXECUTE format('COMMENT ON VIEW medcbir.%I IS %L', 'filter_' || new_name, predicate);
    PERFORM refresh_filtered_image();
END
$$;
REVOKE ALL ON FUNCTION add_filter FROM public;
