-- Exact duplicates in the whole catalogue, and how many of them stand in another split than the image kept.
SELECT
    count(*) AS duplicates,
    count(*) FILTER (WHERE leaks) AS leaks
FROM duplicate_image;
