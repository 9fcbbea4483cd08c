"""A deletion through table embedding is noted for the encoders that lost vectors alone.

Revision: 0011, after 0010.
"""

from alembic import op

from medcbir.store.schema import drop, install, use_schema

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    use_schema(op)
    install(op, "functions/note_removed_vectors_v01.sql")
    drop(op, "functions/watch_embedding_v01.sql")
    install(op, "functions/watch_embedding_v02.sql")
    op.get_bind().exec_driver_sql("DROP TRIGGER note_change ON embedding")
    op.get_bind().exec_driver_sql("SELECT watch_embedding('embedding')")


def downgrade() -> None:
    use_schema(op)
    drop(op, "functions/watch_embedding_v02.sql")
    install(op, "functions/watch_embedding_v01.sql")
    op.get_bind().exec_driver_sql("DROP TRIGGER note_change ON embedding; DROP TRIGGER note_removal ON embedding")
    op.get_bind().exec_driver_sql("SELECT watch_embedding('embedding')")
    drop(op, "functions/note_removed_vectors_v01.sql")
