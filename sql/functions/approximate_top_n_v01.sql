-- approximate_top_n: about the n images nearest to a vector, by the encoder's HNSW index (`medcbir index build`).
-- It may miss some: `medcbir index recall` measures how many. The candidates that the index proposes (ef_search of
-- them: more finds more and takes longer) are ordered by their exact distance, as in top_n. Nothing else uses it.
-- Raises for an unknown encoder, one without an index, n < 1, and ef_search outside of 1 to 1000.
CREATE FUNCTION approximate_top_n(
    query vector,
    encoder text,
    n integer DEFAULT 10,
    ef_search integer DEFAULT 100
) RETURNS TABLE (rank integer, image_id bigint, distance double precision)
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET enable_seqscan = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    dim integer;
BEGIN
    SELECT e.dim INTO dim FROM encoder AS e WHERE e.name = approximate_top_n.encoder;
    IF NOT FOUND THEN
        RAISE undefined_object USING MESSAGE = format('no encoder %L in this database', approximate_top_n.encoder);
    END IF;
    IF to_regclass(format('%I', 'embedding_' || approximate_top_n.encoder || '_hnsw')) IS NULL THEN
        RAISE undefined_object USING MESSAGE = format('encoder %L has no HNSW index', approximate_top_n.encoder);
    END IF;
    IF n IS NULL OR n < 1 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('n must be 1 or more, not %s', coalesce(n::text, 'NULL'));
    END IF;
    PERFORM set_config('hnsw.ef_search', greatest(approximate_top_n.ef_search, least(n, 1000))::text, true);
    RETURN QUERY EXECUTE format(
        'SELECT (row_number() OVER (ORDER BY t.distance, t.image_id))::integer, t.image_id, t.distance
        FROM (
            SELECT c.image_id, c.v <=> $1 AS distance
            FROM (SELECT e.image_id, e.v FROM %1$I AS e ORDER BY e.v::halfvec(%2$s) <=> $1::halfvec(%2$s) LIMIT $3) AS c
            ORDER BY distance, c.image_id
            LIMIT $2
        ) AS t',
        'embedding_' || approximate_top_n.encoder, dim
    ) USING query, n, greatest(n, approximate_top_n.ef_search);
END
$$;
