-- note_removed_vectors: statement trigger of embedding for DELETE; notes in vector_change, once per transaction, the
-- encoders that lost vectors. A deleted image removes its vectors through embedding, and so does an ingest of changed
-- files: most encoders, or all, may have lost none, and copies of their vectors stay current.
-- A statement that names a partition fires that one's trigger (note_vector_change) instead.
CREATE FUNCTION note_removed_vectors() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    this_transaction text := pg_current_xact_id()::text;
    lost integer;
BEGIN
    FOR lost IN
        INSERT INTO vector_change (encoder_id, additive)
        SELECT DISTINCT r.encoder_id, false FROM removed AS r
        WHERE current_setting(concat('medcbir.noted_removal_', r.encoder_id), true) IS DISTINCT FROM this_transaction
        RETURNING encoder_id
    LOOP
        PERFORM set_config(concat('medcbir.noted_removal_', lost), this_transaction, true);
    END LOOP;
    RETURN NULL;
END
$$;
