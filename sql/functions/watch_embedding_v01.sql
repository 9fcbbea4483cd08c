-- watch_embedding: has every change of the rows of embedding, or of one of its partitions, noted in vector_change.
-- A statement fires the triggers of the table that it names, so the parent and each partition need their own (a deleted
-- image removes its vectors through the parent). They fire for a replicated change, too.
CREATE FUNCTION watch_embedding(watched regclass) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s
        FOR EACH STATEMENT EXECUTE FUNCTION note_vector_change()', watched);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER note_change', watched);
END
$$;
