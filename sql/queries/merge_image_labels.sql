-- The batch's images get exactly the labels that it brings.
CREATE TEMPORARY TABLE IF NOT EXISTS arrived (image_id bigint PRIMARY KEY, label_keys text[] NOT NULL);
TRUNCATE arrived;

INSERT INTO arrived (image_id, label_keys)
SELECT
    m.image_id,
    i.label_keys
FROM incoming AS i
INNER JOIN dataset AS d ON d.name = i.dataset
INNER JOIN image AS m ON m.dataset_id = d.dataset_id AND m.uri = i.uri AND m.frame = i.frame;

DELETE FROM image_label AS old
USING arrived AS a
WHERE
    old.image_id = a.image_id
    AND NOT EXISTS (SELECT FROM label AS l WHERE l.label_id = old.label_id AND l.key = any(a.label_keys));

INSERT INTO image_label (image_id, label_id)
SELECT
    a.image_id,
    l.label_id
FROM arrived AS a
INNER JOIN label AS l ON l.key = any(a.label_keys)
ORDER BY a.image_id, l.label_id
ON CONFLICT DO NOTHING;
