"""A run that several processes share, that is killed and gone on with, or that fails; and what others see of it."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from vector_sets import QUERIES, SIZE, clustered, fill

import medcbir
from medcbir.errors import InputError, RunError
from medcbir.retrieval import engine
from medcbir.retrieval.sharing import SharedRun
from medcbir.types import Filter, Run

BLOCK = 8

HOLDING = """
import sys
import medcbir
from medcbir.retrieval import engine
from medcbir.retrieval.sharing import SharedRun

keep, kept = SharedRun.keep, 0

def hold(self, *arguments):
    global kept
    if kept == int(sys.argv[4]):
        print("holding", flush=True)
        sys.stdin.readline()
    keep(self, *arguments)
    kept += 1

SharedRun.keep = hold
engine.BLOCKS.update(pgvector=8, blocked=8)
name = sys.argv[5] if len(sys.argv) > 5 else None
with medcbir.connect(sys.argv[1], data_dir=sys.argv[2]) as db:
    print(db.retrieve(encoder="e", n=5, name=name, engine=sys.argv[3]).name, flush=True)
"""


class Notes:
    """Remarks of a progress display."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done = 0

    def begin(self, stage: str, unit: str, total: int | None) -> None:
        self.done = 0

    def advance(self, items: int) -> None:
        self.done += items

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BLOCKS", {"pgvector": BLOCK, "blocked": BLOCK})


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[range]:
    """Blocks that this process has answered."""
    blocks: list[range] = []
    keep = SharedRun.keep

    def watched(share: SharedRun, block: range, *arguments: object) -> None:
        keep(share, block, *arguments)  # type: ignore[arg-type]
        blocks.append(block)

    monkeypatch.setattr(SharedRun, "keep", watched)
    return blocks


@pytest.fixture
def filled(db: medcbir.Database, tmp_path: Path) -> medcbir.Database:
    rng = np.random.default_rng(1)
    fill(db, tmp_path, clustered(rng), rng.integers(0, 200, SIZE))
    db.query(
        "INSERT INTO label (name, key, modality, region, kind) "
        "SELECT 'CT/' || g, 'ct/' || g, 'CT', g::text, 'anatomy' FROM generate_series(1, 3) AS g RETURNING 1"
    )
    db.query("INSERT INTO image_label SELECT image_id, 1 + image_id % 3 FROM image RETURNING 1")
    return db


Holder = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def holder(filled: medcbir.Database) -> Iterator[Holder]:
    """Starts a process that answers some blocks of a run, then holds the next until a line comes or it is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(blocks: int, *name: str, engine: str = "pgvector") -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDING, filled.conninfo, filled.settings.data_dir, engine, str(blocks), *name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()


def answers(db: medcbir.Database, run: Run) -> list[tuple[object, ...]]:
    return db.query(
        "SELECT query_id, label_id, relevant, hit_ids, hit_distances FROM run_query WHERE run_id = %(run)s "
        "ORDER BY query_id",
        {"run": run.run_id},
    )


def expected(db: medcbir.Database) -> list[tuple[object, ...]]:
    return answers(db, db.retrieve(encoder="e", n=5, engine="pgvector", name="alone"))


@pytest.mark.parametrize("how", ["pgvector", "blocked"])
def test_a_killed_run_is_invisible_and_the_same_call_goes_on(
    filled: medcbir.Database, holder: Holder, kept: list[range], how: str
) -> None:
    wanted = expected(filled)
    kept.clear()
    kill(holder(3, "shared", engine=how))
    assert [run.name for run in filled.runs()] == ["alone"]
    assert filled.query("SELECT count(*) FROM hit WHERE run_id > 1") == [(0,)]
    assert filled.query("SELECT DISTINCT run_id FROM precision_query UNION SELECT run_id FROM run_class") == [(1,)]
    (left,) = filled.unfinished_runs()
    assert (left.name, left.state, left.answered, left.queries) == ("shared", "interrupted", 3 * BLOCK, QUERIES)
    with pytest.raises(RunError, match="is not finished"):
        filled.run("shared")

    shown = Notes()
    run = filled.retrieve(encoder="e", n=5, engine=how, name="shared", progress=shown)
    assert answers(filled, run) == wanted
    assert shown.notes == ["goes on with the interrupted run"]
    assert shown.done == QUERIES
    assert len(kept) == -(-QUERIES // BLOCK) - 3
    assert filled.unfinished_runs() == []
    assert run.certificate["differences"] == 0
    assert filled.query("SELECT count(*) FROM run_block") == [(0,)]


def test_without_a_name_an_abandoned_run_is_gone_on_with(
    filled: medcbir.Database, holder: Holder, kept: list[range]
) -> None:
    living = holder(2)
    other = filled.retrieve(encoder="e", n=5, engine="pgvector")  # somebody works on that one: another is made
    assert len(kept) == -(-QUERIES // BLOCK)
    kill(living)
    kept.clear()
    assert answers(filled, filled.retrieve(encoder="e", n=5, engine="pgvector")) == answers(filled, other)
    assert len(kept) == -(-QUERIES // BLOCK) - 2
    assert sorted(run.name for run in filled.runs()) == ["e-1", "e-2"]


@pytest.mark.parametrize("joins_off", [(), ("hashjoin", "mergejoin"), ("hashjoin", "mergejoin", "material")])
def test_one_claim_takes_one_block(
    filled: medcbir.Database, monkeypatch: pytest.MonkeyPatch, joins_off: tuple[str, ...]
) -> None:
    """Whatever plan the server makes of it."""
    taken: list[int] = []
    claim = SharedRun.claim

    def watched(share: SharedRun) -> range | None:
        for name in joins_off:
            share.connection.execute(f"SET enable_{name} = off")
        before = share.connection.execute("SELECT count(worker) FROM run_block").fetchone()
        block = claim(share)
        after = share.connection.execute("SELECT count(worker) FROM run_block").fetchone()
        assert before is not None
        assert after is not None
        taken.append(after[0] - before[0])
        return block

    monkeypatch.setattr(SharedRun, "claim", watched)
    filled.retrieve(encoder="e", n=5, engine="pgvector")
    blocks = -(-QUERIES // BLOCK)
    assert taken[: blocks + 1] == [1] * blocks + [0]


@pytest.mark.parametrize("ending", ["goes on", "is killed"])
def test_two_processes_share_a_run_and_its_snapshot(
    filled: medcbir.Database, holder: Holder, kept: list[range], ending: str
) -> None:
    """Vectors and labels that change after the first has begun are seen by neither."""
    wanted = expected(filled)
    kept.clear()
    first = holder(1, "shared")
    filled.query("DELETE FROM image WHERE split = 'train' AND image_id % 5 = 4 RETURNING 1")
    filled.query("UPDATE embedding_e SET v = (SELECT v FROM embedding_e LIMIT 1) WHERE image_id % 7 = 3 RETURNING 1")
    found: list[Run] = []
    shown = Notes()

    def share() -> None:
        found.append(filled.retrieve(encoder="e", n=5, engine="pgvector", name="shared", progress=shown))

    second = threading.Thread(target=share)
    second.start()
    blocks = -(-QUERIES // BLOCK)
    while len(kept) < blocks - 2 and second.is_alive():
        second.join(0.05)
    with medcbir.connect(filled.conninfo, data_dir=filled.settings.data_dir) as other:
        assert [(run.state, run.answered) for run in other.unfinished_runs()] == [("running", QUERIES - BLOCK)]
        assert [run.name for run in other.runs()] == ["alone"]
    if ending == "goes on":
        assert first.communicate("\n")[0] == "shared\n"
    else:
        kill(first)
    second.join()
    assert answers(filled, found[0]) == wanted
    assert shown.notes == ["joins the processes that answer this run"]
    assert len(kept) == blocks - (2 if ending == "goes on" else 1)


def test_a_run_starts_over_where_what_it_saw_has_changed(
    filled: medcbir.Database, holder: Holder, kept: list[range]
) -> None:
    kill(holder(3, "shared"))
    filled.query("DELETE FROM image WHERE split = 'train' AND image_id % 5 = 4 RETURNING 1")
    shown = Notes()
    run = filled.retrieve(encoder="e", n=5, engine="pgvector", name="shared", progress=shown)
    assert shown.notes == ["starts over: the run was interrupted, and images or vectors have changed since"]
    assert len(kept) == -(-QUERIES // BLOCK)
    assert answers(filled, run) == expected(filled)
    assert run.index == filled.query("SELECT count(*) FROM image WHERE split = 'train'")[0][0]


def test_a_vector_or_patient_that_changed_counts_too(filled: medcbir.Database, holder: Holder) -> None:
    kill(holder(1, "vectors"))
    filled.query("UPDATE embedding_e SET v = v WHERE image_id = 100 RETURNING 1")
    shown = Notes()
    filled.retrieve(encoder="e", n=5, engine="pgvector", name="vectors", progress=shown)
    kill(holder(1, "patients"))
    filled.query("UPDATE image SET patient_id = NULL WHERE image_id = 100 RETURNING 1")
    filled.retrieve(encoder="e", n=5, engine="pgvector", name="patients", progress=shown)
    assert [note.split(":")[0] for note in shown.notes] == ["starts over", "starts over"]


def test_an_unfinished_run_is_not_joined_with_other_parameters(filled: medcbir.Database, holder: Holder) -> None:
    kill(holder(1, "shared"))
    with pytest.raises(InputError, match=r"other parameters .n 5 and not 6.*medcbir runs drop shared"):
        filled.retrieve(encoder="e", n=6, engine="pgvector", name="shared")
    with pytest.raises(InputError, match="index_filter"):
        filled.retrieve(encoder="e", n=5, engine="pgvector", name="shared", index=Filter(modality="CT"))
    filled.drop_run("shared")
    assert filled.unfinished_runs() == []
    assert filled.query("SELECT count(*) FROM pg_class WHERE relname LIKE 'run_query_1%' AND relkind = 'r'") == [(0,)]
    assert filled.retrieve(encoder="e", n=6, engine="pgvector", name="shared").n == 6
    with pytest.raises(InputError, match="a run named 'shared' exists"):
        filled.retrieve(encoder="e", n=6, engine="pgvector", name="shared")


def test_a_contradiction_marks_the_run_as_failed_and_it_can_be_made_again(
    filled: medcbir.Database, tmp_path: Path
) -> None:
    filled.retrieve(encoder="e", n=5, engine="blocked", name="good")
    (file,) = (tmp_path / "medcbir-data" / "cache").glob("*.vectors")
    stored = np.memmap(file, np.float32, "r+", shape=(SIZE, 64))
    stored[QUERIES:] = stored[QUERIES:][::-1].copy()
    stored.flush()
    with pytest.raises(RunError, match=r"contradicts pgvector.*marked as failed"):
        filled.retrieve(encoder="e", n=5, engine="blocked", name="bad")
    (failed,) = filled.unfinished_runs()
    assert (failed.name, failed.state) == ("bad", "failed")
    assert "contradicts pgvector in" in (failed.failure or "")
    assert [run.name for run in filled.runs()] == ["good"]
    file.unlink()
    shown = Notes()
    run = filled.retrieve(encoder="e", n=5, engine="blocked", name="bad", progress=shown)
    assert shown.notes == ["starts over: the run failed"]
    assert answers(filled, run) == expected(filled)


def test_the_certificate_of_the_pgvector_engine(filled: medcbir.Database) -> None:
    by_statement = filled.retrieve(encoder="e", n=5, engine="pgvector").certificate
    by_products = filled.retrieve(encoder="e", n=5, engine="blocked").certificate
    assert by_statement["engine"] == "pgvector"
    assert by_statement["candidates"] == {"mean": SIZE - QUERIES, "max": SIZE - QUERIES}
    assert by_statement["differences"] == by_statement["outside_bound"] == by_statement["bound"]["score"] == 0
    for name in ("smallest_margin", "ties", "without_vector"):
        assert by_statement[name] == by_products[name]
    assert by_products["sample"] == 8


def test_images_without_a_vector_are_told(filled: medcbir.Database) -> None:
    filled.query("DELETE FROM embedding_e WHERE image_id % 10 = 3 RETURNING 1")
    run = filled.retrieve(encoder="e", n=5)
    counts = dict(filled.query("SELECT split, count(*) FROM image WHERE image_id % 10 = 3 GROUP BY split"))
    assert run.certificate["without_vector"] == {"queries": counts["test"], "index": counts["train"]}
    assert filled.searchable("e", Filter(split="test")).missing == counts["test"]
