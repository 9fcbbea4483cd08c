-- drop_classification: removes a classification with all its predictions, at once: they are one partition.
CREATE FUNCTION drop_classification(dropped_classification_id integer) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', 'prediction_' || dropped_classification_id);
    DELETE FROM classification WHERE classification_id = dropped_classification_id;
END
$$;
