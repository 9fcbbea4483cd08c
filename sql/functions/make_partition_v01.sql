-- make_partition: makes an encoder's partition of embedding, embedding_<name>, and its column of image_vectors.
-- It keeps vectors PLAIN (never TOASTed) where a tuple fits an 8 kB page, which is up to about 2,000 dimensions:
-- reading out-of-line vectors costs an exact query three times as much. Its index answers which images have a vector
-- without reading vectors, whether a query names the partition or the encoder.
CREATE FUNCTION make_partition(of_encoder integer) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    made encoder%ROWTYPE;
    partition_name text;
BEGIN
    SELECT * INTO STRICT made FROM encoder WHERE encoder_id = of_encoder;
    partition_name := 'embedding_' || made.name;
    EXECUTE format(
        'CREATE TABLE %1$I (
            encoder_id integer NOT NULL DEFAULT %2$s,
            image_id bigint NOT NULL,
            v vector NOT NULL,
            CHECK (encoder_id = %2$s),
            CONSTRAINT %3$I CHECK (vector_dims(v) = %4$s),
            CONSTRAINT %5$I CHECK (vector_norm(v) BETWEEN 0.9999 AND 1.0001),
            CONSTRAINT %6$I UNIQUE (image_id) INCLUDE (encoder_id)
        )',
        partition_name, made.encoder_id, partition_name || '_dim', made.dim, partition_name || '_norm',
        partition_name || '_id'
    );
    EXECUTE format('ALTER TABLE %I ALTER COLUMN v SET STORAGE %s', partition_name,
        CASE WHEN made.dim <= 2000 THEN 'PLAIN' ELSE 'EXTERNAL' END);
    EXECUTE format('ALTER TABLE embedding ATTACH PARTITION %I FOR VALUES IN (%s)', partition_name, made.encoder_id);
    PERFORM watch_embedding(quote_ident(partition_name)::regclass);
    PERFORM refresh_image_vectors();
END
$$;
