-- Encoders by name, with their recipes, in the order asked.
SELECT
    e.name,
    e.dim,
    e.imported,
    e.recipe,
    encode(e.checkpoint_sha256, 'hex') AS checkpoint_sha256,
    e.versions
FROM encoder AS e
WHERE e.name = any(%(names)s)
ORDER BY array_position(%(names)s, e.name);
