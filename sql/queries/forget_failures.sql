-- What an earlier call could not encode, since it is tried again; in one dataset, or all.
DELETE FROM rejected
WHERE
    stage = 'encode' AND encoder_id = %(encoder_id)s
    AND (%(dataset)s::text IS NULL OR dataset = %(dataset)s);
