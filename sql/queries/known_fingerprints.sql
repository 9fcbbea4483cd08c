-- What the catalogue knows of these records, in the order asked: the fingerprint of the first frame of each, and
-- how many frames there are of its file.
SELECT
    m.fingerprint,
    (SELECT count(*) FROM image AS f WHERE f.dataset_id = m.dataset_id AND f.uri = m.uri) AS frames
FROM
    unnest(%(datasets)s::text[], %(uris)s::text[], %(frames)s::integer[]) WITH ORDINALITY
        AS asked (dataset, uri, frame, position)
LEFT JOIN dataset AS d ON d.name = asked.dataset
LEFT JOIN image AS m ON m.dataset_id = d.dataset_id AND m.uri = asked.uri AND m.frame = asked.frame
ORDER BY asked.position;
