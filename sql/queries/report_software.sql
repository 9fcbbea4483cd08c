-- Versions of the server and its extension.
SELECT
    current_setting('server_version') AS postgresql,
    (SELECT x.extversion FROM pg_catalog.pg_extension AS x WHERE x.extname = 'vector') AS pgvector;
