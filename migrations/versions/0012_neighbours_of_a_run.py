"""View neighbour reads the runs that it is asked for alone, and tells their number.

Revision: 0012, after 0011.
"""

from alembic import op

from medcbir.store.schema import drop, install, replace, use_schema

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    use_schema(op)
    replace(op, "views/neighbour_v02.sql")


def downgrade() -> None:
    use_schema(op)
    drop(op, "views/neighbour_v02.sql")
    install(op, "views/neighbour_v01.sql")
