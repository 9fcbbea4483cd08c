"""What neighbours are like beyond their labels: silhouettes, hubs, and agreement of runs.

Revision: 0008, after 0007.
"""

from alembic import op

from medcbir.store.schema import drop, install, use_schema

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

OBJECTS = (
    "views/silhouette_query_v01.sql",
    "views/silhouette_class_v01.sql",
    "views/k_occurrence_v01.sql",
    "views/hubness_v01.sql",
    "views/agreement_query_v01.sql",
    "views/agreement_v01.sql",
)


def upgrade() -> None:
    use_schema(op)
    for file in OBJECTS:
        install(op, file)


def downgrade() -> None:
    use_schema(op)
    for file in reversed(OBJECTS):
        drop(op, file)
