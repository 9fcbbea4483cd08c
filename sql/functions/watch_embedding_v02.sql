-- watch_embedding: has every change of the rows of embedding, or of one of its partitions, noted in vector_change.
-- A statement fires the triggers of the table that it names, so the parent and each partition need their own. What is
-- deleted through the parent is looked at: it may be of any encoder, and is of none in most statements. The others
-- through it are rare, and count for every encoder. Triggers fire for a replicated change, too.
CREATE FUNCTION watch_embedding(watched regclass) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    is_parent boolean := watched = 'embedding'::regclass;
BEGIN
    EXECUTE format(
        'CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR TRUNCATE %s ON %s
        FOR EACH STATEMENT EXECUTE FUNCTION note_vector_change()', CASE WHEN NOT is_parent THEN 'OR DELETE' END, watched);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER note_change', watched);
    IF is_parent THEN
        CREATE TRIGGER note_removal AFTER DELETE ON embedding REFERENCING OLD TABLE AS removed
        FOR EACH STATEMENT EXECUTE FUNCTION note_removed_vectors();
        ALTER TABLE embedding ENABLE ALWAYS TRIGGER note_removal;
    END IF;
END
$$;
