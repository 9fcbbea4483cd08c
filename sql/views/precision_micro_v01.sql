-- precision_micro: mean over queries of P@N, one row per run and N; fractions in [0, 1].
-- Denner et al. 2024, eq. 1 ('precision') and the published code's min(N, class size) ('precision_capped').
-- std is the sample standard deviation over queries. undefined counts queries whose class has no image that they may
-- retrieve: they count 0 in precision and are left out of precision_capped.
CREATE VIEW precision_micro AS
SELECT
    run_id,
    n,
    count(*)::integer AS queries,
    avg(precision) AS precision,
    stddev_samp(precision) AS precision_std,
    avg(precision_capped) AS precision_capped,
    stddev_samp(precision_capped) AS precision_capped_std,
    (count(*) - count(precision_capped))::integer AS undefined
FROM precision_query
GROUP BY run_id, n;
