"""Every metric of a run as if it had not retrieved what leaks.

Revision: 0013, after 0012.
"""

from alembic import op

from medcbir.store.schema import drop, install, replace, use_schema

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    use_schema(op)
    install(op, "functions/hits_without_v01.sql")
    replace(op, "views/query_ranking_v02.sql")
    install(op, "functions/evaluation_query_without_v01.sql")


def downgrade() -> None:
    use_schema(op)
    drop(op, "functions/evaluation_query_without_v01.sql")
    replace(op, "views/query_ranking_v01.sql")
    drop(op, "functions/hits_without_v01.sql")
