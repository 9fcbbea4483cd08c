-- Names of the metrics there are: the views metric_<name>, without that prefix; precision first, the others by name.
SELECT substr(c.relname, length('metric_') + 1) AS metric
FROM pg_catalog.pg_class AS c
WHERE c.relnamespace = 'medcbir'::regnamespace AND c.relkind = 'v' AND starts_with(c.relname, 'metric_')
ORDER BY starts_with(c.relname, 'metric_precision') DESC, c.relname;
