"""Maps of embeddings in two dimensions.

Revision: 0007, after 0006.
"""

from alembic import op

from medcbir.store.schema import drop, install, use_schema

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE projection (
    projection_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    encoder_id integer NOT NULL REFERENCES encoder,
    method text NOT NULL CONSTRAINT projection_method_check CHECK (method IN ('tsne', 'pacmap')),
    seed bigint NOT NULL,
    filter jsonb NOT NULL,
    parameters jsonb NOT NULL,
    image_count integer NOT NULL,
    seconds double precision NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX projection_encoder_id_idx ON projection (encoder_id);
COMMENT ON COLUMN projection.filter IS 'which images: dataset, modality, region, split, and the limit of a sample';
COMMENT ON COLUMN projection.parameters IS 'of the method, with what it reached and the versions of libraries';

CREATE TABLE projection_point (
    projection_id integer NOT NULL REFERENCES projection,
    image_id bigint NOT NULL REFERENCES image ON DELETE CASCADE,
    x real NOT NULL,
    y real NOT NULL,
    PRIMARY KEY (image_id, projection_id)
) PARTITION BY LIST (projection_id);
COMMENT ON COLUMN projection_point.x IS 'without unit';
COMMENT ON COLUMN projection_point.y IS 'without unit';
"""

OBJECTS = ("functions/drop_projection_v01.sql", "views/projection_image_v01.sql")


def upgrade() -> None:
    use_schema(op)
    op.get_bind().exec_driver_sql(TABLES)
    for file in OBJECTS:
        install(op, file)


def downgrade() -> None:
    use_schema(op)
    for file in reversed(OBJECTS):
        drop(op, file)
    op.get_bind().exec_driver_sql("DROP TABLE projection_point, projection")
