-- What belongs to runs: the newest run of the same encoder, queries and index that may retrieve the query's patient,
-- and the newest classifications, ablation and map of the encoder; NULL where there is none. In the order asked.
SELECT
    e.name AS encoder,
    r.name AS run,
    (
        SELECT s.name
        FROM run AS s
        WHERE
            r.exclude_same_patient
            AND NOT s.exclude_same_patient
            AND s.encoder_id = r.encoder_id
            AND s.query_filter = r.query_filter
            AND s.index_filter = r.index_filter
            AND s.exclude_duplicates = r.exclude_duplicates
        ORDER BY s.run_id DESC
        LIMIT 1
    ) AS same_patient_run,
    (
        SELECT s.name
        FROM run AS s
        WHERE
            s.encoder_id = r.encoder_id
            AND coalesce(s.query_filter ->> 'dataset', s.query_filter -> 'datasets' ->> 0) = 'covid'
            AND s.run_id <> r.run_id
        ORDER BY s.exclude_same_patient DESC, s.run_id DESC
        LIMIT 1
    ) AS covid_run,
    (
        SELECT max(c.classification_id)
        FROM classification AS c
        WHERE c.encoder_id = r.encoder_id AND c.method = 'knn'
    ) AS knn,
    (
        SELECT max(c.classification_id)
        FROM classification AS c
        WHERE c.encoder_id = r.encoder_id AND c.method = 'linear'
    ) AS linear,
    (SELECT max(a.ablation_id) FROM ablation AS a WHERE a.encoder_id = r.encoder_id) AS ablation,
    (SELECT max(p.projection_id) FROM projection AS p WHERE p.encoder_id = r.encoder_id) AS projection
FROM run AS r
INNER JOIN encoder AS e ON e.encoder_id = r.encoder_id
WHERE r.name = any(%(names)s)
ORDER BY array_position(%(names)s, r.name);
