-- precision_group: micro and macro P@N within each group of queries, one row per run, facet, group, average and N.
-- facet is class, modality, region, kind (pathology or anatomy) or dataset; group_name is the class's name, and so on.
-- micro is the mean over the group's queries, macro the mean over the group's classes; std and undefined follow
-- precision_micro and precision_macro. Denner et al. 2024, section 2.4; fractions in [0, 1].
CREATE VIEW precision_group AS
WITH grouped AS (
    SELECT
        p.run_id,
        f.facet,
        f.group_name,
        p.label_id,
        p.n,
        count(*) AS queries,
        sum(p.precision) AS precision_sum,
        sum(p.precision * p.precision) AS precision_squares,
        avg(p.precision) AS precision,
        stddev_samp(p.precision) AS precision_std,
        count(p.precision_capped) AS capped_queries,
        sum(p.precision_capped) AS capped_sum,
        sum(p.precision_capped * p.precision_capped) AS capped_squares,
        avg(p.precision_capped) AS precision_capped,
        stddev_samp(p.precision_capped) AS precision_capped_std
    FROM precision_query AS p
    INNER JOIN label AS l ON l.label_id = p.label_id
    INNER JOIN image AS i ON i.image_id = p.query_id
    INNER JOIN dataset AS d ON d.dataset_id = i.dataset_id
    CROSS JOIN
        LATERAL (
            VALUES
            ('class', l.name),
            ('modality', l.modality),
            ('region', l.region),
            ('kind', l.kind),
            ('dataset', d.name)
        ) AS f (facet, group_name)
    GROUP BY p.run_id, f.facet, f.group_name, p.label_id, p.n
)

SELECT
    run_id,
    facet,
    group_name,
    'micro' AS average,
    n,
    sum(queries)::integer AS queries,
    sum(precision_sum) / sum(queries) AS precision,
    CASE
        WHEN sum(queries) > 1 THEN
            sqrt(greatest(sum(precision_squares) - sum(precision_sum) ^ 2 / sum(queries), 0) / (sum(queries) - 1))
    END AS precision_std,
    sum(capped_sum) / nullif(sum(capped_queries), 0) AS precision_capped,
    CASE
        WHEN sum(capped_queries) > 1 THEN
            sqrt(
                greatest(sum(capped_squares) - sum(capped_sum) ^ 2 / sum(capped_queries), 0) / (sum(capped_queries) - 1)
            )
    END AS precision_capped_std,
    (sum(queries) - sum(capped_queries))::integer AS undefined
FROM grouped
GROUP BY run_id, facet, group_name, n
UNION ALL
SELECT
    run_id,
    facet,
    group_name,
    'macro' AS average,
    n,
    sum(queries)::integer AS queries,
    avg(precision) AS precision,
    avg(precision_std) AS precision_std,
    avg(precision_capped) AS precision_capped,
    avg(precision_capped_std) AS precision_capped_std,
    (count(*) - count(precision_capped))::integer AS undefined
FROM grouped
GROUP BY run_id, facet, group_name, n;
