-- add_encoder: registers an encoder by its recipe and makes its partition of embedding; returns encoder_id.
-- A recipe that is known returns its encoder, which gets a partition again if it was retired, and the new name if that
-- is free; a new recipe under a taken name is refused (unique_violation).
CREATE FUNCTION add_encoder(
    new_name text,
    new_dim integer,
    new_recipe jsonb,
    new_recipe_sha256 bytea,
    new_checkpoint_sha256 bytea DEFAULT NULL,
    new_versions jsonb DEFAULT '{}',
    is_imported boolean DEFAULT FALSE
) RETURNS integer
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    known encoder%ROWTYPE;
BEGIN
    LOCK TABLE encoder IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO known FROM encoder WHERE recipe_sha256 = new_recipe_sha256;
    IF FOUND AND known.retired_at IS NULL THEN
        RETURN known.encoder_id;
    END IF;
    IF EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = 'image_vectors'::regclass AND attname = new_name AND attnum > 0
            AND NOT EXISTS (SELECT FROM encoder WHERE name = new_name)
    ) THEN
        RAISE invalid_parameter_value USING MESSAGE = format('an encoder cannot be called %L: it is a column of image_vectors', new_name);
    END IF;

    IF known.encoder_id IS NOT NULL THEN
        UPDATE encoder
        SET retired_at = NULL, name = CASE WHEN EXISTS (SELECT FROM encoder WHERE name = new_name) THEN name ELSE new_name END
        WHERE encoder_id = known.encoder_id;
    ELSE
        INSERT INTO encoder (name, dim, recipe, recipe_sha256, checkpoint_sha256, versions, imported)
        VALUES (new_name, new_dim, new_recipe, new_recipe_sha256, new_checkpoint_sha256, new_versions, is_imported)
        RETURNING encoder_id INTO known.encoder_id;
    END IF;
    PERFORM make_partition(known.encoder_id);
    RETURN known.encoder_id;
END
$$;
