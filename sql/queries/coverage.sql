-- Coverage of every encoder, or of one.
SELECT
    encoder,
    dataset,
    images,
    done,
    missing,
    stale,
    failed,
    no_file
FROM encoder_coverage
WHERE %(encoder)s::text IS NULL OR encoder = %(encoder)s
ORDER BY encoder, dataset;
