-- retire_encoder: drops an encoder's vectors at once, with their partition and their column of image_vectors.
-- Where runs, classifications or the like were made with it, its row stays for them, marked retired_at and called
-- <name>_<first 8 hex digits of its recipe's SHA-256>, so that the name is free; otherwise nothing of it stays. Returns
-- the name that stays, or NULL.
-- A session that reads the vectors is waited for 5 s at most (lock_not_available), so that others need not queue long.
CREATE FUNCTION retire_encoder(old_name text) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET lock_timeout = '5s'
AS $$
DECLARE
    old encoder%ROWTYPE;
    kept_name text;
    ending text;
BEGIN
    LOCK TABLE encoder IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO old FROM encoder WHERE name = old_name AND retired_at IS NULL;
    IF NOT FOUND THEN
        RAISE undefined_object USING MESSAGE = format('no encoder %L in this database', old_name);
    END IF;
    UPDATE encoder SET retired_at = now() WHERE encoder_id = old.encoder_id;
    PERFORM refresh_image_vectors();
    EXECUTE format('DROP TABLE %I', 'embedding_' || old_name);
    BEGIN
        DELETE FROM encoder WHERE encoder_id = old.encoder_id;
    EXCEPTION WHEN foreign_key_violation THEN
        DELETE FROM rejected WHERE encoder_id = old.encoder_id;
        DELETE FROM encode_claim WHERE encoder_id = old.encoder_id;
        DELETE FROM stale_vector WHERE encoder_id = old.encoder_id;
        DELETE FROM vector_change WHERE encoder_id = old.encoder_id;
        ending := '_' || left(encode(old.recipe_sha256, 'hex'), 8);
        kept_name := CASE WHEN right(old_name, 9) = ending THEN old_name ELSE left(old_name, 41) || ending END;
        UPDATE encoder SET name = kept_name WHERE encoder_id = old.encoder_id;
    END;
    RETURN kept_name;
END
$$;
