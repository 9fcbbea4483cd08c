-- How unequally a run retrieves the images of its index, for some k.
SELECT
    h.k,
    h.index_images,
    h.never_retrieved,
    h.most_occurrences,
    h.mean_occurrences,
    h.skewness,
    h.bad_share
FROM hubness AS h
WHERE h.run_id = %(run_id)s AND h.k = any(%(k)s)
ORDER BY h.k;
