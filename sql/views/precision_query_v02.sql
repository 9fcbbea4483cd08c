-- precision_query: P@N of each labelled query, for every N from 1 to the run's; fractions in [0, 1].
-- precision is eq. 1 of Denner et al. 2024 (hits of the query's class / N), so a query without hits has 0.
-- precision_capped divides by min(N, relevant), relevant being the index images of its class that it may retrieve;
-- it is NULL where there is none. Queries without exactly one label are left out.
CREATE VIEW precision_query AS
SELECT
    run_id,
    query_id,
    label_id,
    n,
    matches,
    relevant,
    matches / n::double precision AS precision,
    matches / nullif(least(n, relevant), 0)::double precision AS precision_capped
FROM query_cutoff;
