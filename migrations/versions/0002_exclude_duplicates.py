"""Runs and searches that leave out exact duplicates; which duplicate is kept, by rank.

Revision: 0002, after 0001.
"""

from alembic import op

from medcbir.store.schema import drop, install, use_schema

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REPLACED = ("views/duplicate_image", "functions/top_n", "functions/similar_to")


def upgrade() -> None:
    use_schema(op)
    op.get_bind().exec_driver_sql("ALTER TABLE run ADD COLUMN exclude_duplicates boolean NOT NULL DEFAULT false")
    _replace("v01", "v02")


def downgrade() -> None:
    use_schema(op)
    _replace("v02", "v01")
    op.get_bind().exec_driver_sql("ALTER TABLE run DROP COLUMN exclude_duplicates")


def _replace(old: str, new: str) -> None:
    for name in REPLACED:
        drop(op, f"{name}_{old}.sql")
        install(op, f"{name}_{new}.sql")
