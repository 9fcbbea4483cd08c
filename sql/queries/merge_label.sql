-- One label that the batch brings; a spelling that differs in case or spacing alone is the same label.
INSERT INTO label (name, key, modality, region, finding, kind)
VALUES (%(name)s, %(key)s, %(modality)s, %(region)s, %(finding)s, %(kind)s)
ON CONFLICT DO NOTHING;
