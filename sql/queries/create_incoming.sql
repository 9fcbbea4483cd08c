-- Staging table of one ingest session: entries of the catalogue on their way in, a batch at a time.
CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
    position integer NOT NULL,
    dataset text NOT NULL,
    patient text,
    uri text NOT NULL,
    frame integer NOT NULL,
    path text,
    modality text,
    region text,
    split text,
    study_uid text,
    series_uid text,
    instance_uid text,
    width integer,
    height integer,
    file_sha256 bytea,
    pixel_sha256 bytea,
    fingerprint bytea,
    attributes jsonb NOT NULL,
    label_set integer NOT NULL,
    whole_file boolean NOT NULL
);
