-- precision_query: P@N of each labelled query, for every N from 1 to the run's; fractions in [0, 1].
-- precision is eq. 1 of Denner et al. 2024 (hits of the query's class / N), so a query without hits has 0.
-- precision_capped divides by min(N, relevant), relevant being the index images of its class that it may retrieve;
-- it is NULL where there is none. Queries without exactly one label are left out.
CREATE VIEW precision_query AS
SELECT
    q.run_id,
    q.query_id,
    q.label_id,
    c.n,
    c.matches,
    q.relevant,
    c.matches / c.n::double precision AS precision,
    c.matches / nullif(least(c.n, q.relevant), 0)::double precision AS precision_capped
FROM run_query AS q
INNER JOIN run AS r ON r.run_id = q.run_id
CROSS JOIN
    LATERAL (
        SELECT
            g.n,
            (sum((q.hit_label_ids[g.n] IS NOT DISTINCT FROM q.label_id)::integer) OVER (ORDER BY g.n))::integer
                AS matches
        FROM generate_series(1, r.n) AS g (n)
    ) AS c
WHERE q.label_id IS NOT NULL;
