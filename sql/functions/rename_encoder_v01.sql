-- rename_encoder: gives an encoder another name; its partition, that one's constraints, its approximate index if it has
-- one, and its column of image_vectors go along.
CREATE FUNCTION rename_encoder(old_name text, new_name text) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    ending text;
BEGIN
    LOCK TABLE encoder IN SHARE ROW EXCLUSIVE MODE;
    UPDATE encoder SET name = new_name WHERE name = old_name;
    IF NOT FOUND THEN
        RAISE undefined_object USING MESSAGE = format('no encoder %L in this database', old_name);
    END IF;
    EXECUTE format('ALTER TABLE %I RENAME TO %I', 'embedding_' || old_name, 'embedding_' || new_name);
    FOREACH ending IN ARRAY ARRAY['_dim', '_norm', '_id'] LOOP
        EXECUTE format('ALTER TABLE %I RENAME CONSTRAINT %I TO %I', 'embedding_' || new_name,
            'embedding_' || old_name || ending, 'embedding_' || new_name || ending);
    END LOOP;
    EXECUTE format('ALTER INDEX IF EXISTS %I RENAME TO %I', 'embedding_' || old_name || '_hnsw',
        'embedding_' || new_name || '_hnsw');
    PERFORM refresh_image_vectors();
END
$$;
