-- duplicate_image: images whose decoded pixels equal those of another, one row per image that is not the first of them.
-- The first, kept_image_id, is chosen in this order: test, val, train, no split (so that a leak is mended where it
-- costs a query least), then image_id. Nothing is removed: leave duplicates out of a query by this view.
-- leaks says that the two stand in different splits; images without decoded pixels are compared with none.
CREATE VIEW duplicate_image AS
SELECT
    image_id,
    kept_image_id,
    dataset_id <> kept_dataset_id AS across_datasets,
    (split IS DISTINCT FROM kept_split) AS leaks
FROM (
    SELECT
        image_id,
        dataset_id,
        split,
        first_value(image_id) OVER earlier AS kept_image_id,
        first_value(dataset_id) OVER earlier AS kept_dataset_id,
        first_value(split) OVER earlier AS kept_split
    FROM image
    WHERE pixel_sha256 IS NOT NULL
    WINDOW earlier AS (
        PARTITION BY pixel_sha256
        ORDER BY array_position(ARRAY['test', 'val', 'train'], split), image_id
    )
) AS i
WHERE image_id <> kept_image_id;
