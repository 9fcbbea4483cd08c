-- metric_vote: 1 where the commonest class among the first N hits is the query's, else 0; its mean is the accuracy of
-- a majority vote. Of classes that are equally common, that of the nearest hit wins; hits without exactly one label do
-- not vote, and a query without votes has 0. Source: Cover and Hart 1967, "Nearest neighbor pattern classification".
CREATE VIEW metric_vote AS
SELECT
    q.run_id,
    q.query_id,
    q.label_id,
    q.dataset_id,
    q.relevant,
    q.n,
    coalesce(
        (
            SELECT v.label_id = q.label_id
            FROM unnest(q.hit_label_ids[1:q.n]) WITH ORDINALITY AS v (label_id, rank)
            WHERE v.label_id > 0
            GROUP BY v.label_id
            ORDER BY count(*) DESC, min(v.rank)
            LIMIT 1
        ),
        false
    )::integer::double precision AS value
FROM query_cutoff AS q;
