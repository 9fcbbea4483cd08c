-- A digest of all that the catalogue says of the images of some datasets: the same rows, the same digest.
SELECT
    concat_ws(
        '/',
        count(*),
        sum(
            hash_record_extended(
                row(
                    i.image_id, i.dataset_id, i.patient_id, i.uri, i.frame, i.path, i.modality, i.region, i.split,
                    i.study_uid, i.pixel_sha256
                ),
                0
            )
        ),
        (
            SELECT concat_ws('/', count(*), sum(hash_record_extended(row(il.image_id, l.name, l.kind), 0)))
            FROM image_label AS il
            INNER JOIN label AS l ON l.label_id = il.label_id
            INNER JOIN image AS m ON m.image_id = il.image_id
            WHERE m.dataset_id IN (SELECT d.dataset_id FROM dataset AS d WHERE d.name = any(%(datasets)s::text[]))
        )
    ) AS version
FROM image AS i
WHERE i.dataset_id IN (SELECT d.dataset_id FROM dataset AS d WHERE d.name = any(%(datasets)s::text[]));
