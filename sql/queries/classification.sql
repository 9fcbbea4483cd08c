-- A classification as the type Classification holds it.
SELECT
    c.classification_id,
    c.method,
    e.name AS encoder,
    r.name AS run,
    (c.parameters ->> 'k')::integer AS k,
    c.query_count,
    (SELECT count(p.label_id) FROM prediction AS p WHERE p.classification_id = c.classification_id) AS labelled_queries,
    cardinality(c.label_ids) AS classes,
    c.seconds,
    c.parameters,
    c.certificate
FROM classification AS c
INNER JOIN encoder AS e ON e.encoder_id = c.encoder_id
LEFT JOIN run AS r ON r.run_id = c.run_id
WHERE c.classification_id = %(classification_id)s;
