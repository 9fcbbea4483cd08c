-- named_filter: the filters that an administrator has defined (function add_filter), with their predicate on image.
CREATE VIEW named_filter AS
SELECT
    substr(c.relname, length('filter_') + 1) AS name,
    obj_description(c.oid, 'pg_class') AS predicate
FROM pg_catalog.pg_class AS c
WHERE c.relnamespace = 'medcbir'::regnamespace AND c.relkind = 'v' AND starts_with(c.relname, 'filter_');
