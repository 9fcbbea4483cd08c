-- The newest run of each encoder whose queries are test images and not the COVID-19 set alone, and whose query's
-- patient is excluded; without such, its newest run. In order of the encoder's name.
SELECT DISTINCT ON (e.name) r.name
FROM run AS r
INNER JOIN encoder AS e ON e.encoder_id = r.encoder_id
ORDER BY
    e.name,
    coalesce(r.query_filter ->> 'dataset', r.query_filter -> 'datasets' ->> 0, '') = 'covid',
    coalesce(r.query_filter ->> 'split', 'test') <> 'test',
    NOT r.exclude_same_patient,
    r.run_id DESC;
