-- neighbour: one row per hit of a finished run, with the metadata of query and hit, to be read and joined with tables
-- of one's own (by patient, study_uid, series_uid, instance_uid or uri). similarity is 1 - distance, pgvector's cosine.
-- relevant: the hit has the query's class, as the metric views count it; NULL for a query that has none, or several.
-- Hits whose image was deleted since are left out; a query without hits has no row.
-- OFFSET 0 has the runs asked for found first, by name or number, and then the hits of these alone read.
CREATE VIEW neighbour AS
SELECT
    r.name AS run,
    e.name AS encoder,
    h.query_id,
    qi.uri AS query_uri,
    qp.source_id AS query_patient,
    qi.study_uid AS query_study_uid,
    h.rank::integer AS rank,
    h.image_id,
    h.distance,
    1 - h.distance AS similarity,
    CASE WHEN h.query_label_id IS NOT NULL THEN coalesce(h.label_id = h.query_label_id, FALSE) END AS relevant,
    i.uri,
    i.frame,
    d.name AS dataset,
    p.source_id AS patient,
    i.modality,
    i.region,
    l.name AS label,
    i.split,
    i.study_uid,
    i.series_uid,
    i.instance_uid,
    r.run_id
FROM run AS r
INNER JOIN encoder AS e ON e.encoder_id = r.encoder_id
CROSS JOIN
    LATERAL (
        SELECT
            q.query_id,
            q.label_id AS query_label_id,
            u.image_id,
            u.distance,
            u.label_id,
            u.rank
        FROM run_query AS q
        CROSS JOIN
            LATERAL unnest(q.hit_ids, q.hit_distances, q.hit_label_ids)
            WITH ORDINALITY AS u (image_id, distance, label_id, rank)
        WHERE q.run_id = r.run_id
        OFFSET 0  -- noqa: AM09
    ) AS h
INNER JOIN image AS qi ON qi.image_id = h.query_id
LEFT JOIN patient AS qp ON qp.patient_id = qi.patient_id
INNER JOIN image AS i ON i.image_id = h.image_id
INNER JOIN dataset AS d ON d.dataset_id = i.dataset_id
LEFT JOIN patient AS p ON p.patient_id = i.patient_id
LEFT JOIN label AS l ON l.label_id = h.label_id;
