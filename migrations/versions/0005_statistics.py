"""Leaking hits, class size against precision, and the ablation of index size.

Revision: 0005, after 0004.
"""

from alembic import op

from medcbir.store.schema import drop, install, use_schema

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE ablation (
    ablation_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encoder_id integer NOT NULL REFERENCES encoder,
    query_filter jsonb NOT NULL,
    index_filter jsonb NOT NULL,
    exclude_same_patient boolean NOT NULL,
    larger_than integer NOT NULL,
    queries_per_class integer NOT NULL,
    first_seed bigint NOT NULL,
    seconds double precision NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ablation_encoder_id_idx ON ablation (encoder_id);
COMMENT ON COLUMN ablation.larger_than IS 'classes with more index images than this take part';

CREATE TABLE ablation_class (
    ablation_id integer NOT NULL REFERENCES ablation ON DELETE CASCADE,
    seed bigint NOT NULL,
    images_per_class integer NOT NULL,
    n integer NOT NULL,
    label_id integer NOT NULL REFERENCES label,
    queries integer NOT NULL,
    matches integer NOT NULL,
    PRIMARY KEY (ablation_id, seed, images_per_class, n, label_id)
);
CREATE INDEX ablation_class_label_id_idx ON ablation_class (label_id);
COMMENT ON COLUMN ablation_class.seed IS 'of the draw of index images';
COMMENT ON COLUMN ablation_class.matches IS 'relevant images among the first n of all its queries';
"""

OBJECTS = (
    "functions/leaked_hit_v01.sql",
    "views/class_size_precision_v01.sql",
    "views/ablation_precision_v01.sql",
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
    op.get_bind().exec_driver_sql("DROP TABLE ablation_class, ablation")
