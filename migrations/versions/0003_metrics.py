"""Metrics as views of one shape, averaged by one view.

A new metric is a file `sql/views/metric_<name>_v01.sql` and a migration that installs it and then refreshes
`evaluation_query`, which gathers all of them.

Revision: 0003, after 0002.
"""

from alembic import op

from medcbir.store.schema import drop, install, use_schema

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

REPLACED = (
    "views/precision_query_v01.sql",
    "views/precision_micro_v01.sql",
    "views/precision_class_v01.sql",
    "views/precision_macro_v01.sql",
    "views/precision_group_v01.sql",
)
RANKINGS = (
    "views/query_ranking_v01.sql",
    "views/query_cutoff_v01.sql",
    "views/precision_query_v02.sql",
    "views/precision_micro_v01.sql",
    "views/precision_class_v01.sql",
    "views/precision_macro_v01.sql",
)
METRICS = (
    "views/metric_average_precision_v01.sql",
    "views/metric_hit_rate_v01.sql",
    "views/metric_map_at_r_v01.sql",
    "views/metric_ndcg_v01.sql",
    "views/metric_precision_v01.sql",
    "views/metric_precision_capped_v01.sql",
    "views/metric_r_precision_v01.sql",
    "views/metric_reciprocal_rank_v01.sql",
    "views/metric_vote_v01.sql",
    "functions/refresh_evaluation_query_v01.sql",
)
AVERAGES = (
    "views/evaluation_cell_v01.sql",
    "views/evaluation_v01.sql",
)


def upgrade() -> None:
    use_schema(op)
    for file in reversed(REPLACED):
        drop(op, file)
    for file in (*RANKINGS, *METRICS):
        install(op, file)
    op.get_bind().exec_driver_sql("SELECT refresh_evaluation_query()")
    for file in AVERAGES:
        install(op, file)


def downgrade() -> None:
    use_schema(op)
    for file in reversed(AVERAGES):
        drop(op, file)
    op.get_bind().exec_driver_sql("DROP VIEW evaluation_query")
    for file in reversed((*RANKINGS, *METRICS)):
        drop(op, file)
    for file in REPLACED:
        install(op, file)
