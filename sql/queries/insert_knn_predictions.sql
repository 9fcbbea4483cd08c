-- The vote of a run's hits as predictions of a classification.
INSERT INTO prediction (classification_id, image_id, label_id, predicted_label_id, label_ids, scores)
SELECT
    %(classification_id)s,
    v.query_id,
    v.label_id,
    v.predicted_label_id,
    v.label_ids,
    v.scores
FROM knn_vote(%(run_id)s, %(k)s, %(weights)s) AS v;
