"""A log of changes of vectors, by which copies of them know whether they are current.

Revision: 0006, after 0005.
"""

from alembic import op

from medcbir.store.schema import drop, install, use_schema

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE vector_change (
    encoder_id integer NOT NULL REFERENCES encoder ON DELETE CASCADE,
    change_id bigint GENERATED ALWAYS AS IDENTITY,
    additive boolean NOT NULL,
    PRIMARY KEY (encoder_id, change_id)
);
COMMENT ON COLUMN vector_change.additive IS 'vectors were only added';
"""

OBJECTS = ("functions/note_vector_change_v01.sql", "functions/watch_embedding_v01.sql")

WATCH = "SELECT watch_embedding(relid) FROM pg_partition_tree('embedding')"
FORGET = """
DO $$
DECLARE
    watched regclass;
BEGIN
    FOR watched IN SELECT relid FROM pg_partition_tree('embedding') LOOP
        EXECUTE 'DROP TRIGGER note_change ON ' || watched;
    END LOOP;
END
$$
"""


def upgrade() -> None:
    use_schema(op)
    op.get_bind().exec_driver_sql(TABLES)
    for file in OBJECTS:
        install(op, file)
    drop(op, "functions/add_encoder_v01.sql")
    install(op, "functions/add_encoder_v02.sql")
    op.get_bind().exec_driver_sql(WATCH)


def downgrade() -> None:
    use_schema(op)
    op.get_bind().exec_driver_sql(FORGET)
    drop(op, "functions/add_encoder_v02.sql")
    install(op, "functions/add_encoder_v01.sql")
    for file in reversed(OBJECTS):
        drop(op, file)
    op.get_bind().exec_driver_sql("DROP TABLE vector_change")
