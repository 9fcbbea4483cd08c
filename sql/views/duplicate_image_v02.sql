-- duplicate_image: images whose decoded pixels equal those of another, one row per image that is not the first of them.
-- The rule, which stands here alone: of images with equal pixels the first is kept, in the order test, val, train, no
-- split, then image_id. So no query is lost, and mending a leak takes an image from the training set.
-- kept_image_id is that first one, rank the place after it (2 on). Nothing is removed: this view leaves them out.
-- leaks: both have a split, and not the same. Images without decoded pixels are compared with none.
CREATE VIEW duplicate_image AS
SELECT
    image_id,
    kept_image_id,
    dataset_id <> kept_dataset_id AS across_datasets,
    coalesce(split <> kept_split, FALSE) AS leaks,
    rank
FROM (
    SELECT
        image_id,
        dataset_id,
        split,
        first_value(image_id) OVER earlier AS kept_image_id,
        first_value(dataset_id) OVER earlier AS kept_dataset_id,
        first_value(split) OVER earlier AS kept_split,
        row_number() OVER earlier AS rank
    FROM image
    WHERE pixel_sha256 IN (SELECT i.pixel_sha256 FROM image AS i GROUP BY i.pixel_sha256 HAVING count(*) > 1)
    WINDOW earlier AS (
        PARTITION BY pixel_sha256
        ORDER BY array_position(ARRAY['test', 'val', 'train'], split), image_id
    )
) AS i
WHERE rank > 1;
