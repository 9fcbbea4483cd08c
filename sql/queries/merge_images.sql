-- Rows of the batch into image, with exactly the labels that it brings (by label_set, a
-- number for each combination of %(label_keys)s); returns how many were added. A file whose pixels
-- have changed loses its vectors, a file that has lost frames loses their rows; what is not known now (no file at hand)
-- stays as it was known.
WITH placed AS (
    SELECT
        i.*,
        d.dataset_id,
        p.patient_id
    FROM incoming AS i
    INNER JOIN dataset AS d ON d.name = i.dataset
    LEFT JOIN patient AS p ON p.dataset_id = d.dataset_id AND p.source_id = i.patient
),

stale AS (
    DELETE FROM embedding AS b
    USING image AS old
    INNER JOIN placed AS new ON new.dataset_id = old.dataset_id AND new.uri = old.uri AND new.frame = old.frame
    WHERE b.image_id = old.image_id AND new.pixel_sha256 <> old.pixel_sha256
    RETURNING b.encoder_id, b.image_id
),

noted AS (
    INSERT INTO stale_vector (encoder_id, image_id)
    SELECT
        encoder_id,
        image_id
    FROM stale
    ON CONFLICT DO NOTHING
),

gone AS (
    DELETE FROM image AS old
    USING placed AS new
    WHERE
        new.whole_file AND new.frame = 0 AND new.dataset_id = old.dataset_id AND new.uri = old.uri
        AND NOT EXISTS (
            SELECT FROM placed AS kept
            WHERE kept.dataset_id = old.dataset_id AND kept.uri = old.uri AND kept.frame = old.frame
        )
),

written AS (
    INSERT INTO image (
        dataset_id, patient_id, uri, frame, path, modality, region, split, study_uid, series_uid, instance_uid,
        width, height, file_sha256, pixel_sha256, fingerprint, attributes
    )
    SELECT
        dataset_id, patient_id, uri, frame, path, modality, region, split, study_uid, series_uid, instance_uid,
        width, height, file_sha256, pixel_sha256, fingerprint, attributes
    FROM placed
    ORDER BY position
    ON CONFLICT (dataset_id, uri, frame) DO UPDATE
        SET
            patient_id = excluded.patient_id,
            path = coalesce(excluded.path, image.path),
            modality = excluded.modality,
            region = excluded.region,
            split = excluded.split,
            study_uid = excluded.study_uid,
            series_uid = excluded.series_uid,
            instance_uid = excluded.instance_uid,
            width = coalesce(excluded.width, image.width),
            height = coalesce(excluded.height, image.height),
            file_sha256 = coalesce(excluded.file_sha256, image.file_sha256),
            pixel_sha256 = coalesce(excluded.pixel_sha256, image.pixel_sha256),
            fingerprint = excluded.fingerprint,
            attributes = excluded.attributes
    RETURNING image_id, dataset_id, uri, frame, (xmax = 0) AS added
),

label_set AS (
    SELECT
        s.label_set,
        l.label_id
    FROM unnest(%(label_sets)s::integer[], %(label_keys)s::text[]) AS s (label_set, key)
    INNER JOIN label AS l ON l.key = s.key
),

labelled AS (
    SELECT
        w.image_id,
        w.added,
        p.label_set
    FROM written AS w
    INNER JOIN placed AS p ON p.dataset_id = w.dataset_id AND p.uri = w.uri AND p.frame = w.frame
),

unlabelled AS (
    DELETE FROM image_label AS old
    USING labelled AS n
    WHERE
        NOT n.added AND old.image_id = n.image_id
        AND NOT EXISTS (SELECT FROM label_set AS s WHERE s.label_set = n.label_set AND s.label_id = old.label_id)
),

newly_labelled AS (
    INSERT INTO image_label (image_id, label_id)
    SELECT
        n.image_id,
        s.label_id
    FROM labelled AS n
    INNER JOIN label_set AS s ON s.label_set = n.label_set
    ORDER BY n.image_id, s.label_id
    ON CONFLICT DO NOTHING
)

SELECT count(*) FILTER (WHERE added) AS added FROM written;
