-- hubness: how unequally index images are retrieved, one row per run with hits and k.
-- skewness = E[(N_k - mean)^3] / std^3 over all images of the index, N_k being how often one is among the first k hits
-- (k_occurrence, 0 for those that never are: never_retrieved); 0 where all are equally often, large with hubs.
-- Source: Radovanović et al. 2010, "Hubs in space: popular nearest neighbors in high-dimensional data", equation 1.
-- bad_share is the share of hits of another class than their query's. NULL where all images are equally often.
CREATE VIEW hubness AS
SELECT
    h.run_id,
    h.k,
    r.index_count AS index_images,
    r.index_count - sum(h.images)::integer AS never_retrieved,
    max(h.occurrences) AS most_occurrences,
    min(h.mean) AS mean_occurrences,
    (
        (sum(h.images * (h.occurrences - h.mean) ^ 3) - (r.index_count - sum(h.images)) * min(h.mean) ^ 3)
        / r.index_count
    )
    / nullif(
        (
            (sum(h.images * (h.occurrences - h.mean) ^ 2) + (r.index_count - sum(h.images)) * min(h.mean) ^ 2)
            / r.index_count
        ) ^ 1.5, 0
    ) AS skewness,
    sum(h.bad_occurrences) / sum(h.images * h.occurrences)::double precision AS bad_share
FROM (
    SELECT
        k.run_id,
        k.k,
        k.occurrences,
        count(*)::double precision AS images,
        sum(k.bad_occurrences) AS bad_occurrences,
        sum(count(*) * k.occurrences) OVER (PARTITION BY k.run_id, k.k) / s.index_count::double precision AS mean
    FROM k_occurrence AS k
    INNER JOIN run AS s ON s.run_id = k.run_id
    GROUP BY k.run_id, k.k, k.occurrences, s.index_count
) AS h
INNER JOIN run AS r ON r.run_id = h.run_id
GROUP BY h.run_id, h.k, r.index_count;
