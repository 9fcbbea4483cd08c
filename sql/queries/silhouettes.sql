-- How far apart the classes of a run's queries lie: of each class, and micro and macro as everywhere.
WITH class AS MATERIALIZED (
    SELECT
        l.name,
        s.queries,
        s.defined,
        s.own_only,
        s.none_own,
        s.silhouette,
        s.silhouette_std
    FROM silhouette_class AS s
    INNER JOIN label AS l ON l.label_id = s.label_id
    WHERE s.run_id = %(run_id)s
)

SELECT
    'micro' AS average,
    NULL AS group_name,
    sum(c.queries)::integer AS queries,
    sum(c.defined)::integer AS defined,
    sum(c.own_only)::integer AS own_only,
    sum(c.none_own)::integer AS none_own,
    q.silhouette AS value,
    q.silhouette_std AS std
FROM class AS c
CROSS JOIN (
    SELECT
        avg(s.silhouette) AS silhouette,
        stddev_samp(s.silhouette) AS silhouette_std
    FROM silhouette_query AS s
    WHERE s.run_id = %(run_id)s
) AS q
GROUP BY q.silhouette, q.silhouette_std
UNION ALL
SELECT
    'macro' AS average,
    NULL AS group_name,
    sum(c.queries)::integer AS queries,
    sum(c.defined)::integer AS defined,
    sum(c.own_only)::integer AS own_only,
    sum(c.none_own)::integer AS none_own,
    avg(c.silhouette) AS value,
    avg(c.silhouette_std) AS std
FROM class AS c
HAVING count(*) > 0
UNION ALL
SELECT
    'class' AS average,
    c.name AS group_name,
    c.queries,
    c.defined,
    c.own_only,
    c.none_own,
    c.silhouette AS value,
    c.silhouette_std AS std
FROM class AS c
ORDER BY group_name NULLS FIRST, average DESC;
