-- Images that now have a vector or a reason why not: nobody's claim, and no longer without their former vector.
WITH released AS (
    DELETE FROM encode_claim WHERE encoder_id = %(encoder_id)s AND image_id = any(%(image_ids)s)
)

DELETE FROM stale_vector
WHERE encoder_id = %(encoder_id)s AND image_id = any(%(image_ids)s);
