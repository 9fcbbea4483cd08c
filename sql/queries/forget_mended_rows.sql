-- Rows of a manifest that were malformed at an earlier time and not since; its name and a line's is their uri.
DELETE FROM rejected
WHERE
    stage = 'ingest' AND kind = 'invalid' AND dataset = any(%(datasets)s)
    AND starts_with(uri, %(manifest)s || ':') AND rejected_at < %(asked_at)s;
