-- similar_to: the n images nearest to a stored image by one encoder, exactly; it is never among them.
-- With exclude_same_patient, no other image of its patient is either; with exclude_same_study none of its study, with
-- exclude_duplicates none whose decoded pixels equal its own. Filters, order and errors are those of top_n.
-- Raises when the image has no vector of this encoder.
CREATE FUNCTION similar_to(
    query_image_id bigint,
    encoder text,
    n integer DEFAULT 10,
    dataset text DEFAULT NULL,
    modality text DEFAULT NULL,
    region text DEFAULT NULL,
    split text DEFAULT NULL,
    exclude_same_patient boolean DEFAULT FALSE,
    exclude_duplicates boolean DEFAULT FALSE,
    finding text DEFAULT NULL,
    named_filter text DEFAULT NULL,
    exclude_same_study boolean DEFAULT FALSE
) RETURNS TABLE (rank integer, image_id bigint, distance double precision)
LANGUAGE plpgsql
STABLE
PARALLEL RESTRICTED
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    query vector;
    patient bigint;
    pixels bytea;
    study text;
BEGIN
    SELECT
        b.v,
        CASE WHEN similar_to.exclude_same_patient THEN i.patient_id END,
        CASE WHEN similar_to.exclude_duplicates THEN i.pixel_sha256 END,
        CASE WHEN similar_to.exclude_same_study THEN i.study_uid END
    INTO query, patient, pixels, study
    FROM embedding AS b
    JOIN encoder AS e ON e.encoder_id = b.encoder_id
    JOIN image AS i ON i.image_id = b.image_id
    WHERE b.image_id = similar_to.query_image_id AND e.name = similar_to.encoder;
    IF NOT FOUND THEN
        RAISE no_data_found USING MESSAGE = format('image %s has no vector of encoder %L', query_image_id, similar_to.encoder);
    END IF;
    RETURN QUERY
    SELECT t.rank, t.image_id, t.distance
    FROM top_n(query, similar_to.encoder, similar_to.n, similar_to.dataset, similar_to.modality, similar_to.region,
        similar_to.split, similar_to.query_image_id, patient, pixels, similar_to.finding, similar_to.named_filter, study) AS t
    ORDER BY t.rank;
END
$$;
