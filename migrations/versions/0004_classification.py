"""Classifications of images by their vectors: by the nearest neighbours, and by a linear probe.

Revision: 0004, after 0003.
"""

from alembic import op

from medcbir.store.schema import drop, install, use_schema

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE classification (
    classification_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    method text NOT NULL CONSTRAINT classification_method_check CHECK (method IN ('knn', 'linear')),
    encoder_id integer NOT NULL REFERENCES encoder,
    run_id integer REFERENCES run ON DELETE SET NULL,
    label_ids integer[] NOT NULL,
    query_count integer NOT NULL,
    parameters jsonb NOT NULL,
    certificate jsonb NOT NULL DEFAULT '{}'::jsonb,
    seconds double precision NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX classification_encoder_id_idx ON classification (encoder_id);
CREATE INDEX classification_run_id_idx ON classification (run_id);
COMMENT ON COLUMN classification.run_id IS 'the retrieval run whose hits voted; NULL for a linear probe';
COMMENT ON COLUMN classification.label_ids IS 'the classes that could be predicted: those of index or training images';
COMMENT ON COLUMN classification.parameters IS 'what was asked for, and K';
COMMENT ON COLUMN classification.certificate IS 'how it came about: the search for K, or the training by epoch';

CREATE TABLE prediction (
    classification_id integer NOT NULL REFERENCES classification,
    image_id bigint NOT NULL REFERENCES image ON DELETE CASCADE,
    label_id integer,
    predicted_label_id integer,
    label_ids integer[],
    scores real[] NOT NULL,
    PRIMARY KEY (classification_id, image_id)
) PARTITION BY LIST (classification_id);
CREATE INDEX prediction_image_id_idx ON prediction (image_id);
COMMENT ON COLUMN prediction.label_id IS 'the image''s single label at the time';
COMMENT ON COLUMN prediction.predicted_label_id IS 'NULL where nothing voted';
COMMENT ON COLUMN prediction.label_ids IS 'the classes that scores stands for; NULL: all of the classification''s';
COMMENT ON COLUMN prediction.scores IS 'in [0, 1]; a class that is not there has 0';
"""

OBJECTS = (
    "functions/add_classification_v01.sql",
    "functions/drop_classification_v01.sql",
    "functions/knn_vote_v01.sql",
    "functions/knn_auprc_v01.sql",
    "functions/average_precision_v01.sql",
    "views/classification_confusion_v01.sql",
    "views/classification_f1_v01.sql",
    "views/classification_auprc_v01.sql",
)


def upgrade() -> None:
    use_schema(op)
    op.get_bind().exec_driver_sql(TABLES)
    for file in OBJECTS:
        install(op, file)


def downgrade() -> None:
    use_schema(op)
    for file in reversed(OBJECTS):
        drop(op, file)
    op.get_bind().exec_driver_sql("DROP TABLE prediction, classification")
