-- classification_confusion: how many images of a class were predicted to be of which, one row per pair that occurs.
-- predicted_label_id is NULL for images that got no prediction. Images without exactly one label are left out.
CREATE VIEW classification_confusion AS
SELECT
    classification_id,
    label_id,
    predicted_label_id,
    count(*)::integer AS images
FROM prediction
WHERE label_id IS NOT NULL
GROUP BY classification_id, label_id, predicted_label_id;
