-- What was said of these records at an earlier time: it is said anew where it still holds.
DELETE FROM rejected AS r
USING unnest(%(datasets)s::text[], %(uris)s::text[]) AS asked (dataset, uri)
WHERE r.stage = 'ingest' AND r.encoder_id IS NULL AND r.dataset = asked.dataset AND r.uri = asked.uri;
