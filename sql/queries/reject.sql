-- A file, row or image that could not be used, and why; the newest reason wins.
INSERT INTO rejected (stage, encoder_id, dataset, uri, frame, kind, reason)
VALUES (%(stage)s, %(encoder_id)s, %(dataset)s, %(uri)s, %(frame)s, %(kind)s, %(reason)s)
ON CONFLICT (stage, encoder_id, dataset, uri, frame) DO UPDATE SET
    kind = excluded.kind, reason = excluded.reason, rejected_at = now();
