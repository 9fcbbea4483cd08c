-- Every encoder that the database knows, with its dimension, whether its vectors were imported, and how many it has.
SELECT
    e.name,
    e.dim,
    e.imported,
    (SELECT count(*) FROM medcbir.embedding AS b WHERE b.encoder_id = e.encoder_id) AS images
FROM medcbir.encoder AS e
ORDER BY e.name;
