-- What retiring an encoder would drop, and whether its successor, if there is one, could stand in for it.
-- results are the runs, ablations, classifications and projections that were made with it, which stay.
SELECT
    (SELECT count(*) FROM embedding AS b WHERE b.encoder_id = e.encoder_id) AS vectors,
    (SELECT count(*) FROM run AS r WHERE r.encoder_id = e.encoder_id)
    + (SELECT count(*) FROM ablation AS a WHERE a.encoder_id = e.encoder_id)
    + (SELECT count(*) FROM classification AS c WHERE c.encoder_id = e.encoder_id)
    + (SELECT count(*) FROM projection AS p WHERE p.encoder_id = e.encoder_id) AS results,
    s.name AS successor,
    coalesce(o.missing, 0)::bigint AS missing,
    coalesce(o.failed, 0)::bigint AS failed,
    (
        SELECT count(DISTINCT c.worker) FROM encode_claim AS c
        WHERE c.encoder_id IN (e.encoder_id, s.encoder_id)
    ) AS workers
FROM encoder AS e
LEFT JOIN LATERAL (
    SELECT
        n.encoder_id,
        n.name
    FROM encoder AS n
    WHERE
        n.retired_at IS NULL AND starts_with(n.name, e.name || '_')
        AND substr(n.name, length(e.name) + 2) = left(encode(n.recipe_sha256, 'hex'), 8)
    ORDER BY n.created_at DESC, n.encoder_id DESC
    LIMIT 1
) AS s ON TRUE
LEFT JOIN LATERAL (
    SELECT
        sum(c.missing + c.stale) AS missing,
        sum(c.failed) AS failed
    FROM encoder_coverage AS c
    WHERE c.encoder = s.name
) AS o ON TRUE
WHERE e.encoder_id = %(encoder_id)s;
