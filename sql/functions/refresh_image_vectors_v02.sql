-- refresh_image_vectors: rebuilds view image_vectors, one row per image with its metadata and one typed vector column
-- per encoder, named after it; called whenever an encoder comes or goes.
-- A column that a query does not ask for costs nothing: every join is a left join on a unique key, which the planner
-- removes. A new encoder appends its column, so views that a user built on this one stay valid.
CREATE FUNCTION refresh_image_vectors() RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    vector_columns text;
    vector_joins text;
    definition text;
BEGIN
    SELECT
        coalesce(string_agg(format(E',\n    %1$I.v::vector(%2$s) AS %3$I', 'e' || encoder_id, dim, name), ''
            ORDER BY encoder_id), ''),
        coalesce(string_agg(format(E'\nLEFT JOIN %1$I AS %2$I ON %2$I.image_id = i.image_id',
            'embedding_' || name, 'e' || encoder_id), '' ORDER BY encoder_id), '')
    INTO vector_columns, vector_joins
    FROM encoder
    WHERE retired_at IS NULL;

    definition := format($view$
SELECT
    i.image_id,
    i.uri,
    i.frame,
    d.name AS dataset,
    p.source_id AS patient,
    i.modality,
    i.region,
    ARRAY(
        SELECT l.finding
        FROM image_label AS il
        JOIN label AS l ON l.label_id = il.label_id
        WHERE il.image_id = i.image_id AND l.finding IS NOT NULL
        ORDER BY l.name
    ) AS findings,
    i.split,
    i.study_uid,
    i.series_uid,
    i.instance_uid,
    i.attributes%s
FROM image AS i
LEFT JOIN dataset AS d ON d.dataset_id = i.dataset_id
LEFT JOIN patient AS p ON p.patient_id = i.patient_id%s
$view$, vector_columns, vector_joins);

    BEGIN
        EXECUTE 'CREATE OR REPLACE VIEW image_vectors AS' || definition;
    EXCEPTION WHEN invalid_table_definition THEN
        EXECUTE 'DROP VIEW image_vectors';
        EXECUTE 'CREATE VIEW image_vectors AS' || definition;
    END;
    COMMENT ON VIEW image_vectors IS 'one row per image: its metadata, and one vector column per encoder';
END
$$;
