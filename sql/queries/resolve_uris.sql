-- Images that uris name: one row per match, in the order asked; two rows where datasets share a uri.
SELECT
    w.position,
    i.image_id
FROM wanted AS w
INNER JOIN image AS i ON i.uri = w.uri AND i.frame = w.frame
ORDER BY w.position;
