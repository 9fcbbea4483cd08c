"""The approximate index: its recall, who uses it, and who never does."""

from pathlib import Path

import numpy as np
import psycopg
import pytest
from vector_sets import SIZE, clustered, fill

import medcbir
from medcbir.errors import InputError, RunError


@pytest.fixture
def filled(db: medcbir.Database, tmp_path: Path) -> medcbir.Database:
    fill(db, tmp_path, clustered(np.random.default_rng(1)), np.zeros(SIZE, np.int64))
    return db


def test_recall_is_that_of_the_two_functions(filled: medcbir.Database) -> None:
    filled.build_index("e", m=4, ef_construction=8)
    found = filled.index_recall("e", n=20, queries=30, ef_search=20)
    shares = []
    for (image_id,) in filled.query("SELECT image_id FROM embedding_e ORDER BY md5(image_id::text) LIMIT 30"):
        exact, near = (
            set(filled.query(f"SELECT t.image_id FROM embedding_e AS e, {call} AS t WHERE e.image_id = {image_id}"))
            for call in ("top_n(e.v, 'e', 20)", "approximate_top_n(e.v, 'e', 20, 20)")
        )
        shares.append(len(exact & near) / 20)
    assert 0 <= found.least <= found.recall <= 1
    assert found.recall > 0
    assert found.recall == pytest.approx(np.mean(shares), abs=0.02)  # ties at rank 20 count as found
    assert filled.index_recall("e", n=20, queries=30, ef_search=1000).recall >= found.recall
    filled.drop_index("e")
    filled.build_index("e")
    assert filled.index_recall("e", n=5, queries=30, ef_search=1000).recall > found.recall


def test_the_index_goes_with_its_encoder_to_another_name(filled: medcbir.Database) -> None:
    filled.build_index("e")
    near = "SELECT * FROM approximate_top_n((SELECT v FROM {} WHERE image_id = 70), %(name)s, 5, 1000)"
    before = filled.query(near.format("embedding_e"), {"name": "e"})
    filled.query("SELECT rename_encoder('e', 'renamed')")
    assert filled.query(near.format("embedding_renamed"), {"name": "renamed"}) == before
    filled.drop_index("renamed")


def test_nothing_exact_reads_the_index(filled: medcbir.Database) -> None:
    """Even where the planner is pressed to: exact functions, a run, and a user's ORDER BY on image_vectors."""
    statements = (
        "SELECT * FROM similar_to(70, 'e', 10)",
        "SELECT image_id FROM image_vectors ORDER BY e <=> (SELECT v FROM embedding_e WHERE image_id = 70) LIMIT 10",
        "SELECT image_id FROM embedding_e ORDER BY v <=> (SELECT v FROM embedding_e WHERE image_id = 70) LIMIT 10",
    )
    before = [filled.query(statement) for statement in statements]
    run = filled.retrieve(encoder="e", n=10, engine="pgvector")
    filled.build_index("e", m=2, ef_construction=4)
    filled.query("SELECT set_config('enable_seqscan', 'off', false), set_config('hnsw.ef_search', '1', false)")
    assert [filled.query(statement) for statement in statements] == before
    again = filled.retrieve(encoder="e", n=10, engine="pgvector")
    hits = "SELECT query_id, hit_ids FROM run_query WHERE run_id = %(run)s ORDER BY query_id"
    assert filled.query(hits, {"run": again.run_id}) == filled.query(hits, {"run": run.run_id})
    scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'embedding_e_hnsw'"
    filled.query("SELECT pg_stat_force_next_flush()")
    assert filled.query(scans) == [(0,)]
    filled.query("SELECT * FROM approximate_top_n((SELECT v FROM embedding_e WHERE image_id = 70), 'e', 10)")
    filled.query("SELECT pg_stat_force_next_flush()")
    assert filled.query(scans) == [(1,)]


def test_wrong_questions_are_told(filled: medcbir.Database) -> None:
    with pytest.raises(RunError, match="medcbir index build"):
        filled.index_recall("e")
    with pytest.raises(RunError, match="has no approximate index"):
        filled.drop_index("e")
    with pytest.raises(psycopg.Error, match="has no HNSW index"):
        filled.query("SELECT * FROM approximate_top_n('[1]', 'e', 1)")
    filled.build_index("e")
    with pytest.raises(InputError, match="has an index"):
        filled.build_index("e")
    with pytest.raises(InputError, match="ef_search"):
        filled.index_recall("e", ef_search=0)
    filled.drop_index("e")
    with pytest.raises(InputError, match="ef_construction"):
        filled.build_index("e", m=50, ef_construction=60)
