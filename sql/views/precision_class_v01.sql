-- precision_class: mean over the queries of one class of P@N, one row per run, class and N; fractions in [0, 1].
-- std is the sample standard deviation within the class, NULL for a class of one query. index_images counts the class
-- in the run's index; undefined as in precision_micro.
CREATE VIEW precision_class AS
SELECT
    p.run_id,
    p.label_id,
    p.n,
    count(*)::integer AS queries,
    coalesce(min(c.index_images), 0) AS index_images,
    avg(p.precision) AS precision,
    stddev_samp(p.precision) AS precision_std,
    avg(p.precision_capped) AS precision_capped,
    stddev_samp(p.precision_capped) AS precision_capped_std,
    (count(*) - count(p.precision_capped))::integer AS undefined
FROM precision_query AS p
LEFT JOIN run_class AS c ON c.run_id = p.run_id AND c.label_id = p.label_id
GROUP BY p.run_id, p.label_id, p.n;
