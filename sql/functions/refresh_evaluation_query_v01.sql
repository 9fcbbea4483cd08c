-- refresh_evaluation_query: rebuilds view evaluation_query, all metrics as one; called whenever a metric comes or goes.
-- A metric is a view metric_<name> with the columns run_id, query_id, label_id, dataset_id, relevant, n, value: one row
-- per labelled query and N (NULL: does not depend on N). Its rows get <name> as column metric.
-- A query that asks for some metrics by name does not touch the others: the planner drops their branches.
CREATE FUNCTION refresh_evaluation_query() RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    branches text;
BEGIN
    SELECT string_agg(
        format(
            'SELECT %L::text AS metric, run_id, query_id, label_id, dataset_id, relevant, n, value FROM medcbir.%I',
            substr(relname, length('metric_') + 1), relname
        ),
        E'\nUNION ALL\n' ORDER BY relname
    )
    INTO branches
    FROM pg_catalog.pg_class
    WHERE relnamespace = 'medcbir'::regnamespace AND relkind = 'v' AND starts_with(relname, 'metric_');

    EXECUTE 'CREATE OR REPLACE VIEW medcbir.evaluation_query AS ' || branches;
    COMMENT ON VIEW medcbir.evaluation_query IS 'one row per metric, labelled query and N';
END
$$;
