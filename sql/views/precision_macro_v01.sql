-- precision_macro: mean over classes of the class's mean P@N, one row per run and N; fractions in [0, 1].
-- Denner et al. 2024, section 2.4. std is the mean over classes of the standard deviation within the class, as in the
-- published code; classes of one query have none and are left out of it. classes counts those with a query; undefined
-- counts classes without any defined precision_capped, left out of its mean.
CREATE VIEW precision_macro AS
SELECT
    run_id,
    n,
    count(*)::integer AS classes,
    sum(queries)::integer AS queries,
    avg(precision) AS precision,
    avg(precision_std) AS precision_std,
    avg(precision_capped) AS precision_capped,
    avg(precision_capped_std) AS precision_capped_std,
    (count(*) - count(precision_capped))::integer AS undefined
FROM precision_class
GROUP BY run_id, n;
