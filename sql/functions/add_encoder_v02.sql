-- add_encoder: registers an encoder by its recipe and makes its partition of embedding; returns encoder_id.
-- A recipe that is known returns its encoder; a new recipe under a taken name is refused (unique_violation).
-- The partition keeps vectors PLAIN (never TOASTed) where a tuple fits an 8 kB page, which is up to about 2,000
-- dimensions: reading out-of-line vectors costs an exact query three times as much.
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
    new_id integer;
    partition_name text := 'embedding_' || new_name;
BEGIN
    LOCK TABLE encoder IN SHARE ROW EXCLUSIVE MODE;
    SELECT encoder_id INTO new_id FROM encoder WHERE recipe_sha256 = new_recipe_sha256;
    IF FOUND THEN
        RETURN new_id;
    END IF;
    IF EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = 'image_vectors'::regclass AND attname = new_name AND attnum > 0
            AND NOT EXISTS (SELECT FROM encoder WHERE name = new_name)
    ) THEN
        RAISE invalid_parameter_value USING MESSAGE = format('an encoder cannot be called %L: it is a column of image_vectors', new_name);
    END IF;

    INSERT INTO encoder (name, dim, recipe, recipe_sha256, checkpoint_sha256, versions, imported)
    VALUES (new_name, new_dim, new_recipe, new_recipe_sha256, new_checkpoint_sha256, new_versions, is_imported)
    RETURNING encoder_id INTO new_id;

    EXECUTE format(
        'CREATE TABLE %1$I (
            encoder_id integer NOT NULL DEFAULT %2$s,
            image_id bigint NOT NULL,
            v vector NOT NULL,
            CHECK (encoder_id = %2$s),
            CONSTRAINT %3$I CHECK (vector_dims(v) = %4$s),
            CONSTRAINT %5$I CHECK (vector_norm(v) BETWEEN 0.9999 AND 1.0001),
            CONSTRAINT %6$I UNIQUE (image_id)
        )',
        partition_name, new_id, partition_name || '_dim', new_dim, partition_name || '_norm', partition_name || '_id'
    );
    EXECUTE format('ALTER TABLE %I ALTER COLUMN v SET STORAGE %s', partition_name,
        CASE WHEN new_dim <= 2000 THEN 'PLAIN' ELSE 'EXTERNAL' END);
    EXECUTE format('ALTER TABLE embedding ATTACH PARTITION %I FOR VALUES IN (%s)', partition_name, new_id);
    PERFORM watch_embedding(quote_ident(partition_name)::regclass);
    PERFORM refresh_image_vectors();
    RETURN new_id;
END
$$;
