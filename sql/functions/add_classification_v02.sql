-- add_classification: registers a classification and makes its partition of prediction; returns classification_id.
CREATE FUNCTION add_classification(
    new_method text,
    new_encoder_id integer,
    new_run_id integer,
    new_label_ids integer[],
    new_query_count integer,
    new_parameters jsonb,
    new_certificate jsonb,
    new_seconds double precision,
    new_name text DEFAULT NULL
) RETURNS integer
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    new_id integer;
BEGIN
    INSERT INTO classification (method, encoder_id, run_id, label_ids, query_count, parameters, certificate, seconds,
        name)
    VALUES (new_method, new_encoder_id, new_run_id, new_label_ids, new_query_count, new_parameters, new_certificate,
        new_seconds, new_name)
    RETURNING classification_id INTO new_id;
    EXECUTE format('CREATE TABLE %I PARTITION OF prediction FOR VALUES IN (%s)', 'prediction_' || new_id, new_id);
    RETURN new_id;
END
$$;
