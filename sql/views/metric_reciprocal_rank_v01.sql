-- metric_reciprocal_rank: 1 / rank of the first relevant hit, 0 where none is among the first N; its mean is MRR@N.
-- Source: Voorhees 1999, "The TREC-8 Question Answering Track Report".
CREATE VIEW metric_reciprocal_rank AS
SELECT
    q.run_id,
    q.query_id,
    q.label_id,
    q.dataset_id,
    q.relevant,
    q.n,
    CASE WHEN q.matches > 0 THEN 1 / q.relevant_ranks[1]::double precision ELSE 0 END AS value
FROM query_cutoff AS q;
