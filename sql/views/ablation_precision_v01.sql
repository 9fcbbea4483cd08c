-- ablation_precision: P@N against the number of index images per class, one row per ablation, size and N. The mean over
-- draws of the index (seeds); std is their sample standard deviation, NULL for one. Fractions in [0, 1].
-- Denner et al. 2024, figure 3 B. Classes have equally many queries, so micro and macro are the same.
CREATE VIEW ablation_precision AS
SELECT
    ablation_id,
    images_per_class,
    n,
    count(*)::integer AS seeds,
    min(classes)::integer AS classes,
    min(queries)::integer AS queries,
    avg(precision) AS precision,
    stddev_samp(precision) AS precision_std
FROM (
    SELECT
        ablation_id,
        seed,
        images_per_class,
        n,
        count(*) AS classes,
        sum(queries) AS queries,
        sum(matches) / (n * sum(queries))::double precision AS precision
    FROM ablation_class
    GROUP BY ablation_id, seed, images_per_class, n
) AS draw
GROUP BY ablation_id, images_per_class, n;
