-- note_vector_change: statement trigger of embedding and its partitions; writes one row of vector_change per
-- transaction, encoder and kind of change, so that a copy of an encoder's vectors can tell whether it is current.
-- additive: vectors were only added. A row is seen by exactly those who see the change, since both commit together.
CREATE FUNCTION note_vector_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    setting text := concat('medcbir.noted_', TG_RELID, '_', lower(TG_OP));
    this_transaction text := pg_current_xact_id()::text;
BEGIN
    IF current_setting(setting, true) IS DISTINCT FROM this_transaction THEN
        INSERT INTO vector_change (encoder_id, additive)
        SELECT e.encoder_id, TG_OP = 'INSERT' FROM encoder AS e
        WHERE TG_TABLE_NAME IN ('embedding', 'embedding_' || e.name);
        PERFORM set_config(setting, this_transaction, true);
    END IF;
    RETURN NULL;
END
$$;
