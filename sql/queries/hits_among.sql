-- The n nearest to a vector among a few images that a warm index proposes, with their metadata, as hits_near_vector has
-- them. place is the rank among all of the proposed, whatever the filter leaves out, and found how many of them exist.
WITH near AS MATERIALIZED (
    SELECT
        b.image_id,
        b.v <=> %(vector)s AS distance
    FROM unnest(%(image_ids)s::bigint[]) AS p (image_id)
    INNER JOIN {partition} AS b ON b.image_id = p.image_id
),

placed AS (
    SELECT
        n.image_id,
        n.distance,
        row_number() OVER (ORDER BY n.distance, n.image_id) AS place
    FROM near AS n
),

chosen AS MATERIALIZED (
    SELECT
        c.image_id,
        c.distance,
        c.place
    FROM placed AS c
    INNER JOIN image AS i ON i.image_id = c.image_id
    WHERE
        (%(dataset)s::text IS NULL OR i.dataset_id = (SELECT d.dataset_id FROM dataset AS d WHERE d.name = %(dataset)s))
        AND (%(modality)s::text IS NULL OR i.modality = %(modality)s)
        AND (%(region)s::text IS NULL OR i.region = %(region)s)
        AND (%(split)s::text IS NULL OR i.split = %(split)s)
        AND (
            %(finding)s::text IS NULL
            OR i.image_id IN (
                SELECT l.image_id FROM image_label AS l
                INNER JOIN label AS f ON f.label_id = l.label_id
                WHERE f.finding = %(finding)s
            )
        )
        AND (
            %(named)s::text IS NULL
            OR EXISTS (SELECT FROM filtered_image AS f WHERE f.filter = %(named)s AND f.image_id = i.image_id)
        )
        AND (%(exclude_image)s::bigint IS NULL OR i.image_id <> %(exclude_image)s)
        AND (%(exclude_patient)s::bigint IS NULL OR i.patient_id IS DISTINCT FROM %(exclude_patient)s)
        AND (%(exclude_study)s::text IS NULL OR i.study_uid IS DISTINCT FROM %(exclude_study)s)
        AND (%(exclude_pixels)s::bytea IS NULL OR i.pixel_sha256 IS DISTINCT FROM %(exclude_pixels)s)
    ORDER BY c.place
    LIMIT %(n)s
)

SELECT
    (row_number() OVER (ORDER BY c.place))::integer AS rank,
    v.image_id,
    v.uri,
    v.frame,
    c.distance,
    v.dataset,
    v.patient,
    v.modality,
    v.region,
    v.findings,
    v.split,
    c.place,
    (SELECT count(*) FROM near) AS found
FROM chosen AS c
INNER JOIN image_vectors AS v ON v.image_id = c.image_id
ORDER BY c.place;
