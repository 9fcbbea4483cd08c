-- evaluation_query_without: evaluation_query of a run as if it had not retrieved what function hits_without leaves out:
-- images of the query's patient (same_patient), duplicates of the query and near ones (within, a cosine distance; NULL
-- keeps them), or both. Metrics and cutoffs may be chosen; NULL is all. value is also NULL where it needs further hits
-- than the run kept. Compare it with evaluation_query on the queries that have a value in both, as `medcbir compare
-- --leakage` does. Metric views start from query_ranking, which reads the setting medcbir.left_out; it is set for the
-- length of this call alone.
CREATE FUNCTION evaluation_query_without(
    of_run_id integer,
    same_patient boolean,
    within double precision,
    metrics text[] DEFAULT NULL,
    cutoffs integer[] DEFAULT NULL
) RETURNS SETOF evaluation_query
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
BEGIN
    PERFORM set_config(
        'medcbir.left_out',
        jsonb_build_object('run_id', of_run_id, 'same_patient', same_patient, 'within', within)::text,
        true
    );
    RETURN QUERY
    SELECT
        e.metric, e.run_id, e.query_id, e.label_id, e.dataset_id, e.relevant, e.n,
        CASE WHEN coalesce(e.n, e.relevant) <= h.known THEN e.value END
    FROM evaluation_query AS e
    INNER JOIN hits_without(of_run_id, same_patient, within) AS h ON h.query_id = e.query_id
    WHERE
        e.run_id = of_run_id
        AND (metrics IS NULL OR e.metric = any(metrics))
        AND (cutoffs IS NULL OR e.n IS NULL OR e.n = any(cutoffs));
    PERFORM set_config('medcbir.left_out', '', true);
END
$$;
