-- metric_average_precision: AP@N = sum over relevant hits among the first N of P@(its rank) / min(N, relevant).
-- The i-th relevant hit, of rank r, adds i / r. NULL without a possible relevant image; its mean is MAP@N.
-- Source: Manning et al. 2009, "An Introduction to Information Retrieval", section 8.4, cut at N; the denominator lets
-- a perfect list have 1 at every N.
CREATE VIEW metric_average_precision AS
SELECT
    q.run_id,
    q.query_id,
    q.label_id,
    q.dataset_id,
    q.relevant,
    q.n,
    coalesce(
        (
            SELECT sum(r.number / r.rank::double precision)
            FROM unnest(q.relevant_ranks[1:q.matches]) WITH ORDINALITY AS r (rank, number)
        ),
        0
    ) / nullif(least(q.n, q.relevant), 0) AS value
FROM query_cutoff AS q;
