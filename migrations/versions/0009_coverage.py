"""Coverage of images by encoders, and encoders that are retired.

Revision: 0009, after 0008.
"""

from alembic import op

from medcbir.store.schema import drop, install, use_schema

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE encoder ADD COLUMN retired_at timestamptz;
COMMENT ON COLUMN encoder.retired_at IS 'when its vectors were dropped; NULL while it has them';

CREATE TABLE stale_vector (
    encoder_id integer NOT NULL REFERENCES encoder ON DELETE CASCADE,
    image_id bigint NOT NULL REFERENCES image ON DELETE CASCADE,
    PRIMARY KEY (encoder_id, image_id)
);
CREATE INDEX stale_vector_image_id_idx ON stale_vector (image_id);
COMMENT ON TABLE stale_vector IS 'vectors that were removed since the pixels of their image had changed';
"""

REPLACED = {
    "functions/add_encoder_v02.sql": "functions/add_encoder_v03.sql",
    "functions/refresh_image_vectors_v01.sql": "functions/refresh_image_vectors_v02.sql",
}
ADDED = (
    "functions/make_partition_v01.sql",
    "functions/rename_encoder_v01.sql",
    "functions/retire_encoder_v01.sql",
    "views/image_coverage_v01.sql",
    "views/encoder_coverage_v01.sql",
)

REINDEX = """
DO $$
DECLARE
    partition text;
BEGIN
    FOR partition IN SELECT 'embedding_' || name FROM encoder LOOP
        EXECUTE format('ALTER TABLE %1$I DROP CONSTRAINT %2$I, ADD CONSTRAINT %2$I UNIQUE (image_id){including}',
            partition, partition || '_id');
    END LOOP;
END
$$;
SELECT refresh_image_vectors();
"""


def upgrade() -> None:
    use_schema(op)
    op.get_bind().exec_driver_sql(TABLES)
    for old, new in REPLACED.items():
        drop(op, old)
        install(op, new)
    for file in ADDED:
        install(op, file)
    op.get_bind().exec_driver_sql(REINDEX.replace("{including}", " INCLUDE (encoder_id)"))


def downgrade() -> None:
    use_schema(op)
    for file in reversed(ADDED):
        drop(op, file)
    op.get_bind().exec_driver_sql(
        "DO $$ BEGIN IF EXISTS (SELECT FROM encoder WHERE retired_at IS NOT NULL) THEN "
        "RAISE object_in_use USING MESSAGE = 'runs of retired encoders are stored: remove them first'; END IF; END $$"
    )
    for old, new in REPLACED.items():
        drop(op, new)
        install(op, old)
    op.get_bind().exec_driver_sql(REINDEX.replace("{including}", ""))
    op.get_bind().exec_driver_sql("DROP TABLE stale_vector; ALTER TABLE encoder DROP COLUMN retired_at")
