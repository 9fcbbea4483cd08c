"""Classifications and ablations may have a name, by which their maker finds them again.

Revision: 0014, after 0013.
"""

from alembic import op

from medcbir.store.schema import drop, install, use_schema

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE classification ADD COLUMN name text UNIQUE;
ALTER TABLE ablation ADD COLUMN name text UNIQUE;
"""
FUNCTION = "functions/add_classification_{}.sql"


def upgrade() -> None:
    use_schema(op)
    op.get_bind().exec_driver_sql(COLUMNS)
    drop(op, FUNCTION.format("v01"))
    install(op, FUNCTION.format("v02"))


def downgrade() -> None:
    use_schema(op)
    drop(op, FUNCTION.format("v02"))
    install(op, FUNCTION.format("v01"))
    op.get_bind().exec_driver_sql("ALTER TABLE classification DROP COLUMN name; ALTER TABLE ablation DROP COLUMN name")
