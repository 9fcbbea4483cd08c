-- What the catalogue knows of these records: the fingerprint of the first frame of each, in the order asked.
SELECT m.fingerprint
FROM
    unnest(%(datasets)s::text[], %(uris)s::text[], %(frames)s::integer[]) WITH ORDINALITY
        AS asked (dataset, uri, frame, position)
LEFT JOIN dataset AS d ON d.name = asked.dataset
LEFT JOIN image AS m ON m.dataset_id = d.dataset_id AND m.uri = asked.uri AND m.frame = asked.frame
ORDER BY asked.position;
