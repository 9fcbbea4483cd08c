-- agreement_query: how many of the first n hits of a query two runs share, one row per pair of runs, query of both and
-- n.
-- overlap = shared / n; jaccard = shared / images that either has among its first n, NULL where neither has any;
-- average_overlap = mean of overlap over the depths 1 to n, so that what is shared early counts more. From 0 to 1.
-- Source: Fagin et al. 2003, "Comparing top k lists"; Webber et al. 2010, "A similarity measure for indefinite
-- rankings", section 3.1. Both orders of a pair have rows. Choose first_run_id, second_run_id and n.
CREATE VIEW agreement_query AS
SELECT
    a.first_run_id,
    a.second_run_id,
    a.query_id,
    a.label_id,
    c.n,
    width_bucket(c.n, a.depths) AS shared,
    width_bucket(c.n, a.depths) / c.n::double precision AS overlap,
    width_bucket(c.n, a.depths) / nullif(
        least(c.n, a.first_hits) + least(c.n, a.second_hits) - width_bucket(c.n, a.depths), 0
    )::double precision AS jaccard,
    (
        SELECT sum(width_bucket(d.depth, a.depths) / d.depth::double precision)
        FROM generate_series(1, c.n) AS d (depth)
    ) / c.n AS average_overlap
FROM (
    SELECT
        f.run_id AS first_run_id,
        s.run_id AS second_run_id,
        f.query_id,
        f.label_id,
        cardinality(f.hit_ids) AS first_hits,
        cardinality(s.hit_ids) AS second_hits,
        m.depths
    FROM run_query AS f
    INNER JOIN run_query AS s ON s.query_id = f.query_id AND s.run_id <> f.run_id
    CROSS JOIN
        LATERAL (
            SELECT
                coalesce(
                    array_agg(greatest(x.rank, y.rank)::integer ORDER BY greatest(x.rank, y.rank)), '{}'
                ) AS depths
            FROM unnest(f.hit_ids) WITH ORDINALITY AS x (image_id, rank)
            INNER JOIN unnest(s.hit_ids) WITH ORDINALITY AS y (image_id, rank) ON y.image_id = x.image_id
        ) AS m
) AS a
INNER JOIN run AS r ON r.run_id = a.first_run_id
INNER JOIN run AS t ON t.run_id = a.second_run_id
CROSS JOIN LATERAL generate_series(1, least(r.n, t.n)) AS c (n);
