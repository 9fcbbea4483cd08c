-- silhouette_class: how well a class lies apart from others around its queries, one row per run and class: the mean of
-- silhouette_query over the class's queries that have one (defined), with their sample standard deviation.
-- The others are counted: own_only have hits of their own class alone, none_own have hits of other classes alone; what
-- is left has no labelled hits. Rousseeuw 1987: the average silhouette width of a cluster.
CREATE VIEW silhouette_class AS
SELECT
    run_id,
    label_id,
    count(*)::integer AS queries,
    count(silhouette)::integer AS defined,
    (count(own_distance) FILTER (WHERE other_distance IS NULL))::integer AS own_only,
    (count(other_distance) FILTER (WHERE own_distance IS NULL))::integer AS none_own,
    avg(silhouette) AS silhouette,
    stddev_samp(silhouette) AS silhouette_std
FROM silhouette_query
GROUP BY run_id, label_id;
