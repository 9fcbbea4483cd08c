-- What else made vectors of an encoder; what is recorded already stays.
UPDATE encoder
SET versions = %(versions)s || versions
WHERE encoder_id = %(encoder_id)s AND versions <> %(versions)s || versions;
