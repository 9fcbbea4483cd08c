-- Nearest images to a stored image with their metadata, for a person to read; see function similar_to.
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
    similar_to(
        %(image_id)s,
        %(encoder)s,
        %(n)s,
        dataset => %(dataset)s,
        modality => %(modality)s,
        region => %(region)s,
        split => %(split)s,
        finding => %(finding)s,
        named_filter => %(named)s,
        exclude_same_patient => %(exclude_same_patient)s,
        exclude_same_study => %(exclude_same_study)s,
        exclude_duplicates => %(exclude_duplicates)s
    ) AS t
INNER JOIN image_vectors AS v ON v.image_id = t.image_id
ORDER BY t.rank;
