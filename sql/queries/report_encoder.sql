-- The encoder of a run with its recipe, and the versions of all that took part.
SELECT
    e.name,
    e.dim,
    e.imported,
    e.recipe,
    encode(e.checkpoint_sha256, 'hex') AS checkpoint_sha256,
    e.versions,
    current_setting('server_version') AS postgresql,
    (SELECT x.extversion FROM pg_catalog.pg_extension AS x WHERE x.extname = 'vector') AS pgvector
FROM run AS r
INNER JOIN encoder AS e ON e.encoder_id = r.encoder_id
WHERE r.run_id = %(run_id)s;
