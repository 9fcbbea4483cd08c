-- Nearest images to a vector with their metadata, for a person to read; see function top_n.
SELECT
    t.rank,
    v.image_id,
    v.uri,
    v.frame,
    t.distance,
    v.dataset,
    v.patient,
    v.modality,
    v.region,
    v.findings,
    v.split
FROM
    top_n(
        %(vector)s,
        %(encoder)s,
        %(n)s,
        dataset => %(dataset)s,
        modality => %(modality)s,
        region => %(region)s,
        split => %(split)s,
        finding => %(finding)s,
        named_filter => %(named)s,
        exclude_pixels => %(exclude_pixels)s
    ) AS t
INNER JOIN image_vectors AS v ON v.image_id = t.image_id
ORDER BY t.rank;
