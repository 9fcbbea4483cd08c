"""The catalogue, its vectors, and retrieval runs.

Revision: 0001, the first.
"""

from alembic import op

from medcbir.store.schema import drop, install, use_schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE dataset (
    dataset_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

CREATE TABLE patient (
    patient_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset_id integer NOT NULL REFERENCES dataset,
    source_id text NOT NULL,
    UNIQUE (dataset_id, source_id)
);
COMMENT ON COLUMN patient.source_id IS 'pseudonymous: the publisher''s id, or a keyed hash of DICOM''s';

CREATE TABLE label (
    label_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    key text NOT NULL UNIQUE,
    modality text NOT NULL,
    region text NOT NULL,
    finding text,
    kind text NOT NULL CONSTRAINT label_kind_check CHECK (kind IN ('pathology', 'anatomy'))
);
COMMENT ON COLUMN label.name IS 'MODALITY/region/finding';
COMMENT ON COLUMN label.key IS 'the name without its case and spacing';

CREATE TABLE image (
    image_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset_id integer NOT NULL REFERENCES dataset,
    patient_id bigint REFERENCES patient,
    uri text NOT NULL,
    frame integer NOT NULL DEFAULT 0 CONSTRAINT image_frame_check CHECK (frame >= 0),
    path text,
    modality text,
    region text,
    split text CONSTRAINT image_split_check CHECK (split IN ('train', 'val', 'test')),
    study_uid text,
    series_uid text,
    instance_uid text,
    width integer,
    height integer,
    file_sha256 bytea,
    pixel_sha256 bytea,
    fingerprint bytea,
    attributes jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (dataset_id, uri, frame)
);
CREATE INDEX image_patient_id_idx ON image (patient_id);
CREATE INDEX image_uri_idx ON image (uri);
CREATE INDEX image_pixel_sha256_idx ON image (pixel_sha256);
COMMENT ON COLUMN image.uri IS 'the image''s name in its dataset, as its source writes it';
COMMENT ON COLUMN image.path IS 'where its bytes are; NULL when catalogued without files';
COMMENT ON COLUMN image.width IS 'pixels';
COMMENT ON COLUMN image.height IS 'pixels';
COMMENT ON COLUMN image.pixel_sha256 IS 'of the decoded, displayable pixels';
COMMENT ON COLUMN image.fingerprint IS 'of the source''s record and the file''s size and time: same, unchanged';

CREATE TABLE image_label (
    image_id bigint NOT NULL REFERENCES image ON DELETE CASCADE,
    label_id integer NOT NULL REFERENCES label,
    PRIMARY KEY (image_id, label_id)
);
CREATE INDEX image_label_label_id_idx ON image_label (label_id);

CREATE TABLE encoder (
    encoder_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CONSTRAINT encoder_name_check CHECK (name ~ '^[A-Za-z][A-Za-z0-9_.-]{0,49}$'),
    dim integer NOT NULL CONSTRAINT encoder_dim_check CHECK (dim BETWEEN 1 AND 16000),
    recipe jsonb NOT NULL,
    recipe_sha256 bytea NOT NULL UNIQUE,
    checkpoint_sha256 bytea,
    versions jsonb NOT NULL DEFAULT '{}'::jsonb,
    imported boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN encoder.recipe IS 'everything that shapes a vector';
COMMENT ON COLUMN encoder.versions IS 'libraries, for the record';

CREATE TABLE embedding (
    encoder_id integer NOT NULL REFERENCES encoder,
    image_id bigint NOT NULL REFERENCES image ON DELETE CASCADE,
    v vector NOT NULL
) PARTITION BY LIST (encoder_id);
COMMENT ON COLUMN embedding.v IS 'unit L2 norm';

CREATE TABLE encode_claim (
    encoder_id integer NOT NULL REFERENCES encoder ON DELETE CASCADE,
    image_id bigint NOT NULL REFERENCES image ON DELETE CASCADE,
    worker integer NOT NULL,
    PRIMARY KEY (encoder_id, image_id)
);
CREATE INDEX encode_claim_image_id_idx ON encode_claim (image_id);
COMMENT ON COLUMN encode_claim.worker IS 'alive while it holds the advisory lock of this number';

CREATE TABLE rejected (
    rejected_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stage text NOT NULL CONSTRAINT rejected_stage_check CHECK (stage IN ('ingest', 'encode')),
    encoder_id integer REFERENCES encoder ON DELETE CASCADE,
    dataset text NOT NULL,
    uri text NOT NULL,
    frame integer,
    kind text NOT NULL CONSTRAINT rejected_kind_check CHECK (kind IN ('unreadable', 'not_an_image', 'invalid')),
    reason text NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (stage, encoder_id, dataset, uri, frame)
);

CREATE TABLE run (
    run_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    encoder_id integer NOT NULL REFERENCES encoder,
    n integer NOT NULL CONSTRAINT run_n_check CHECK (n >= 1),
    engine text NOT NULL,
    query_filter jsonb NOT NULL,
    index_filter jsonb NOT NULL,
    exclude_same_patient boolean NOT NULL,
    query_count integer NOT NULL,
    index_count integer NOT NULL,
    seconds double precision NOT NULL,
    certificate jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX run_encoder_id_idx ON run (encoder_id);

CREATE TABLE run_class (
    run_id integer NOT NULL REFERENCES run ON DELETE CASCADE,
    label_id integer NOT NULL REFERENCES label,
    index_images integer NOT NULL,
    PRIMARY KEY (run_id, label_id)
);
CREATE INDEX run_class_label_id_idx ON run_class (label_id);

CREATE TABLE run_query (
    run_id integer NOT NULL REFERENCES run,
    query_id bigint NOT NULL REFERENCES image ON DELETE CASCADE,
    label_id integer,
    relevant integer NOT NULL,
    hit_ids bigint[] NOT NULL,
    hit_distances double precision[] NOT NULL,
    hit_label_ids integer[] NOT NULL,
    PRIMARY KEY (run_id, query_id)
) PARTITION BY LIST (run_id);
CREATE INDEX run_query_query_id_idx ON run_query (query_id);
COMMENT ON COLUMN run_query.label_id IS 'the query''s single label at the time of the run';
COMMENT ON COLUMN run_query.relevant IS 'index images of its class that it may retrieve';
"""

OBJECTS = (
    "views/image_class_v01.sql",
    "views/duplicate_image_v01.sql",
    "functions/refresh_image_vectors_v01.sql",
    "functions/add_encoder_v01.sql",
    "functions/drop_run_v01.sql",
    "functions/top_n_v01.sql",
    "functions/similar_to_v01.sql",
    "views/hit_v01.sql",
    "views/precision_query_v01.sql",
    "views/precision_micro_v01.sql",
    "views/precision_class_v01.sql",
    "views/precision_macro_v01.sql",
    "views/precision_group_v01.sql",
)


def upgrade() -> None:
    use_schema(op)
    op.get_bind().exec_driver_sql(TABLES)
    for file in OBJECTS:
        install(op, file)
    op.get_bind().exec_driver_sql("SELECT refresh_image_vectors()")


def downgrade() -> None:
    use_schema(op)
    op.get_bind().exec_driver_sql("DROP VIEW image_vectors")
    for file in reversed(OBJECTS):
        drop(op, file)
    op.get_bind().exec_driver_sql(
        "DROP TABLE run_query, run_class, run, rejected, encode_claim, embedding, encoder, image_label, image, label, "
        "patient, dataset"
    )
