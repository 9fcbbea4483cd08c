-- Figure 3 B of Denner et al. 2024: P@N of some ablations against the number of index images per class, and what is one
-- standard deviation over draws below and above it; NULL for one draw.
SELECT
    p.ablation_id,
    e.name AS encoder,
    p.images_per_class,
    p.n,
    p.seeds,
    p.classes,
    p.queries,
    p.precision,
    p.precision_std,
    p.precision - p.precision_std AS one_below,
    p.precision + p.precision_std AS one_above
FROM ablation_precision AS p
INNER JOIN ablation AS a ON a.ablation_id = p.ablation_id
INNER JOIN encoder AS e ON e.encoder_id = a.encoder_id
WHERE p.ablation_id = any(%(ablation_ids)s)
ORDER BY array_position(%(ablation_ids)s, p.ablation_id), p.n, p.images_per_class;
