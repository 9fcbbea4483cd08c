"""A question about one run reads that run's table alone, however many there are."""

from collections.abc import Callable, Iterator

import pytest
from stored_runs import random_run

import medcbir
from medcbir.store.connection import open_database

RUNS = 6

VIEWS_OF_A_RUN = (
    "SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid WHERE c.relkind = 'v' AND "
    "c.relnamespace = 'medcbir'::regnamespace AND a.attname = 'run_id' ORDER BY 1"
)
OTHER_QUESTIONS = (
    "SELECT * FROM neighbour WHERE run = 'r3'",
    "SELECT * FROM hit WHERE run_id = (SELECT run_id FROM run WHERE name = 'r3')",
    "SELECT * FROM evaluation WHERE run_id = (SELECT run_id FROM run WHERE name = 'r3') AND metric = 'ndcg' AND n = 3",
    "SELECT * FROM knn_vote(3, 2)",
    "SELECT knn_auprc(3, 2)",
    "SELECT * FROM leaked_hit(3)",
)


@pytest.fixture(scope="module")
def db(clone: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[medcbir.Database]:
    with medcbir.connect(clone(), data_dir=tmp_path_factory.mktemp("data")) as opened:
        for number in range(1, RUNS + 1):
            random_run(number, 4, 60).store(opened, f"r{number}")
        with opened._open() as connection:
            connection.execute("ANALYZE")
        yield opened


def read_by(db: medcbir.Database, statement: str) -> set[str]:
    """The partitions of run_query that the statement scans, by PostgreSQL's own count."""
    # a session's counts go on until it reports them, so each has its own
    with open_database(db.conninfo, install="never") as connection, connection.transaction():
        connection.execute(statement.encode())
        rows = connection.execute(
            "SELECT relname FROM pg_stat_xact_user_tables WHERE relname LIKE 'run_query_%' AND seq_scan + idx_scan > 0"
        )
        return {name for (name,) in rows.fetchall()}


def test_every_view_reads_one_run(db: medcbir.Database) -> None:
    views = [name for (name,) in db.query(VIEWS_OF_A_RUN)]
    assert len(views) > 15
    for view in views:
        assert read_by(db, f"SELECT * FROM {view} WHERE run_id = 3") <= {"run_query_3"}, view
    assert read_by(db, "SELECT * FROM evaluation_query WHERE run_id = 3") == {"run_query_3"}
    assert len(read_by(db, "SELECT * FROM hit")) == RUNS


@pytest.mark.parametrize("question", OTHER_QUESTIONS)
def test_other_questions_about_one_run_read_it_alone(db: medcbir.Database, question: str) -> None:
    assert read_by(db, question) <= {"run_query_3"}


def test_agreement_reads_two_runs(db: medcbir.Database) -> None:
    question = "SELECT * FROM agreement_query WHERE first_run_id = 2 AND second_run_id = 5"
    assert read_by(db, question) == {"run_query_2", "run_query_5"}
