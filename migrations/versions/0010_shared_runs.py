"""Runs that several processes share and go on with; named filters; neighbours with their metadata; approximate search.

Revision: 0010, after 0009.
"""

from alembic import op

from medcbir.store.schema import drop, install, use_schema

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE run ADD COLUMN exclude_same_study boolean NOT NULL DEFAULT false;

CREATE TABLE unfinished_run (
    run_id integer PRIMARY KEY,
    name text UNIQUE,
    encoder_id integer NOT NULL REFERENCES encoder,
    n integer NOT NULL,
    engine text NOT NULL,
    query_filter jsonb NOT NULL,
    index_filter jsonb NOT NULL,
    exclude_same_patient boolean NOT NULL,
    exclude_same_study boolean NOT NULL,
    exclude_duplicates boolean NOT NULL,
    query_count integer NOT NULL,
    index_count integer NOT NULL,
    contents_sha256 bytea NOT NULL,
    snapshots text[] NOT NULL,
    workers integer[] NOT NULL,
    worked double precision NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL,
    failure text
);
CREATE INDEX unfinished_run_encoder_id_idx ON unfinished_run (encoder_id);
COMMENT ON COLUMN unfinished_run.run_id IS 'that of the run it will be';
COMMENT ON COLUMN unfinished_run.contents_sha256 IS 'of who takes part and the version of their vectors';
COMMENT ON COLUMN unfinished_run.snapshots IS 'exported by its processes; they end with them';
COMMENT ON COLUMN unfinished_run.workers IS 'each alive while it holds the advisory lock of its number';
COMMENT ON COLUMN unfinished_run.worked IS 'seconds before started_at that a process worked on it';
COMMENT ON COLUMN unfinished_run.failure IS 'how its answer contradicted pgvector';

CREATE TABLE run_block (
    run_id integer NOT NULL REFERENCES unfinished_run ON DELETE CASCADE,
    block integer NOT NULL,
    first_query integer NOT NULL,
    last_query integer NOT NULL,
    worker integer,
    answered_at timestamptz,
    certificate jsonb,
    PRIMARY KEY (run_id, block)
);
COMMENT ON TABLE run_block IS 'queries of an unfinished run that one process answers at a time';
COMMENT ON COLUMN run_block.last_query IS 'the one after the last, by the order of image ids';
"""

OBJECTS = (
    "views/named_filter_v01.sql",
    "functions/refresh_filtered_image_v01.sql",
    "functions/add_filter_v01.sql",
    "functions/drop_filter_v01.sql",
    "functions/approximate_top_n_v01.sql",
    "views/neighbour_v01.sql",
)
REPLACED = (
    ("functions/drop_run", "v01", "v02"),
    ("functions/top_n", "v02", "v03"),
    ("functions/similar_to", "v02", "v03"),
)
DROP_FILTERS = """
DO $$
DECLARE
    dropped text;
BEGIN
    FOR dropped IN SELECT name FROM named_filter LOOP
        EXECUTE format('DROP VIEW %I', 'filter_' || dropped);
    END LOOP;
END
$$
"""


def upgrade() -> None:
    use_schema(op)
    op.get_bind().exec_driver_sql(TABLES)
    for file in OBJECTS:
        install(op, file)
    op.get_bind().exec_driver_sql("SELECT refresh_filtered_image()")
    for name, old, new in REPLACED:
        drop(op, f"{name}_{old}.sql")
        install(op, f"{name}_{new}.sql")


def downgrade() -> None:
    use_schema(op)
    for name, old, new in REPLACED:
        drop(op, f"{name}_{new}.sql")
        install(op, f"{name}_{old}.sql")
    op.get_bind().exec_driver_sql("DROP VIEW filtered_image")
    op.get_bind().exec_driver_sql(DROP_FILTERS)
    for file in reversed(OBJECTS):
        drop(op, file)
    op.get_bind().exec_driver_sql(
        "SELECT drop_run(run_id) FROM unfinished_run; DROP TABLE run_block, unfinished_run; "
        "ALTER TABLE run DROP COLUMN exclude_same_study"
    )
