-- metric_ndcg: nDCG@N with binary gains = sum over relevant hits among the first N of 1 / log2(rank + 1), divided by
-- the same sum over ranks 1 to min(N, relevant). NULL without a possible relevant image. The base of the logarithm
-- cancels. Source: Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", with the discount
-- log2(rank + 1) of Burges et al. 2005.
CREATE VIEW metric_ndcg AS
SELECT
    q.run_id,
    q.query_id,
    q.label_id,
    q.dataset_id,
    q.relevant,
    q.n,
    coalesce((SELECT sum(1 / ln(r.rank + 1)) FROM unnest(q.relevant_ranks[1:q.matches]) AS r (rank)), 0)
    / ideal.gain AS value
FROM query_cutoff AS q
LEFT JOIN (
    SELECT
        k,
        sum(1 / ln(k + 1)) OVER (ORDER BY k) AS gain
    FROM generate_series(1, (SELECT max(n) FROM run)) AS s (k)
) AS ideal ON ideal.k = least(q.n, q.relevant);
