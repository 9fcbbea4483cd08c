-- top_n: the n images nearest to a vector among those that one encoder has encoded, exactly.
-- distance is pgvector's cosine distance (query <=> v), in [0, 2]; order is (distance, image_id), so it never varies.
-- Arguments left NULL restrict nothing. finding is that of any of an image's labels, named_filter a filter that an
-- administrator has defined (see add_filter). exclude_patient, exclude_study and exclude_pixels leave out all images of
-- one patient, study_uid or pixel_sha256; images where that is not known stay.
-- Raises for an unknown encoder or filter, a query of another dimension, a zero query, and n < 1.
-- Index scans are off inside: an approximate index cannot answer an exact question. The planner thinks a distance
-- cheap; parallel costs are set so that it does share a large scan between workers.
CREATE FUNCTION top_n(
    query vector,
    encoder text,
    n integer DEFAULT 10,
    dataset text DEFAULT NULL,
    modality text DEFAULT NULL,
    region text DEFAULT NULL,
    split text DEFAULT NULL,
    exclude_image bigint DEFAULT NULL,
    exclude_patient bigint DEFAULT NULL,
    exclude_pixels bytea DEFAULT NULL,
    finding text DEFAULT NULL,
    named_filter text DEFAULT NULL,
    exclude_study text DEFAULT NULL
) RETURNS TABLE (rank integer, image_id bigint, distance double precision)
LANGUAGE plpgsql
STABLE
PARALLEL RESTRICTED
SET search_path FROM CURRENT
SET enable_indexscan = off
SET enable_indexonlyscan = off
SET parallel_setup_cost = 0
SET parallel_tuple_cost = 0
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    expected_dim integer;
    conditions text := '';
BEGIN
    SELECT e.dim INTO expected_dim FROM encoder AS e WHERE e.name = top_n.encoder;
    IF NOT FOUND THEN
        RAISE undefined_object USING MESSAGE = format('no encoder %L in this database', top_n.encoder);
    END IF;
    IF vector_dims(query) <> expected_dim THEN
        RAISE data_exception USING MESSAGE = format('the query has %s dimensions, encoder %s has %s',
            vector_dims(query), top_n.encoder, expected_dim);
    END IF;
    IF vector_norm(query) = 0 THEN
        RAISE data_exception USING MESSAGE = 'a zero vector has no direction, so nothing is near it';
    END IF;
    IF n IS NULL OR n < 1 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('n must be 1 or more, not %s', coalesce(n::text, 'NULL'));
    END IF;
    IF top_n.named_filter IS NOT NULL AND NOT EXISTS (SELECT FROM named_filter AS f WHERE f.name = top_n.named_filter) THEN
        RAISE undefined_object USING MESSAGE = format('no filter %L in this database', top_n.named_filter);
    END IF;

    conditions := concat_ws(' AND ',
        CASE WHEN top_n.dataset IS NOT NULL THEN 'i.dataset_id = (SELECT d.dataset_id FROM dataset AS d WHERE d.name = $3)' END,
        CASE WHEN top_n.modality IS NOT NULL THEN 'i.modality = $4' END,
        CASE WHEN top_n.region IS NOT NULL THEN 'i.region = $5' END,
        CASE WHEN top_n.split IS NOT NULL THEN 'i.split = $6' END,
        CASE WHEN top_n.exclude_patient IS NOT NULL THEN 'i.patient_id IS DISTINCT FROM $8' END,
        CASE WHEN top_n.exclude_pixels IS NOT NULL THEN 'i.pixel_sha256 IS DISTINCT FROM $9' END,
        CASE WHEN top_n.finding IS NOT NULL THEN 'i.image_id IN (
            SELECT il.image_id FROM image_label AS il JOIN label AS l ON l.label_id = il.label_id WHERE l.finding = $10
        )' END,
        CASE WHEN top_n.named_filter IS NOT NULL THEN format('i.image_id IN (SELECT f.image_id FROM %I AS f)',
            'filter_' || top_n.named_filter) END,
        CASE WHEN top_n.exclude_study IS NOT NULL THEN 'i.study_uid IS DISTINCT FROM $11' END
    );
    IF conditions <> '' THEN
        conditions := 'JOIN image AS i ON i.image_id = e.image_id AND ' || conditions;
    END IF;
    IF top_n.exclude_image IS NOT NULL THEN
        conditions := conditions || ' WHERE e.image_id <> $7';
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT (row_number() OVER (ORDER BY t.distance, t.image_id))::integer, t.image_id, t.distance
        FROM (
            SELECT e.image_id, e.v <=> $1 AS distance
            FROM %I AS e %s
            ORDER BY distance, e.image_id
            LIMIT $2
        ) AS t',
        'embedding_' || top_n.encoder, conditions
    ) USING query, n, top_n.dataset, top_n.modality, top_n.region, top_n.split, top_n.exclude_image, top_n.exclude_patient,
        top_n.exclude_pixels, top_n.finding, top_n.exclude_study;
END
$$;
