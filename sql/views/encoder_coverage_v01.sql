-- encoder_coverage: how many images of each dataset an encoder has a vector of, one row per encoder and dataset.
-- images is the sum of the counts that follow it; see image_coverage for what they mean, and for which images they are.
CREATE VIEW encoder_coverage AS
SELECT
    encoder,
    dataset,
    count(*) AS images,
    count(*) FILTER (WHERE state = 'done') AS done,
    count(*) FILTER (WHERE state = 'missing') AS missing,
    count(*) FILTER (WHERE state = 'stale') AS stale,
    count(*) FILTER (WHERE state = 'failed') AS failed,
    count(*) FILTER (WHERE state = 'no_file') AS no_file
FROM image_coverage
GROUP BY encoder, dataset;
