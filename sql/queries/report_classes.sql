-- Figure 3 A of Denner et al. 2024: P@N of each class of some runs at one N, beside the number of its index images.
SELECT
    p.run_id,
    p.class AS label,
    p.kind,
    p.queries,
    p.index_images,
    p.precision
FROM class_size_precision AS p
WHERE p.run_id = any(%(run_ids)s) AND p.n = %(n)s
ORDER BY p.class, array_position(%(run_ids)s, p.run_id);
