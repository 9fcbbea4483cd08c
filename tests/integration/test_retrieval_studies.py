"""The speed studies of retrieval at toy sizes: every way answers the same, and every measurement says what it is of."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import medcbir
from medcbir.bench.clusters import CHUNK, Clusters
from medcbir.bench.retrieval import FAISS, layout_study, retrieval_at_scale, run_study, single_study
from medcbir.bench.scratch import fill, scratch

pytest.importorskip("faiss")


def test_vectors_are_the_same_whatever_part_of_them_is_asked_for() -> None:
    clusters = Clusters(8)
    whole = np.concatenate([part for _, part in clusters.chunks(0, CHUNK + 100)])
    (first, some), (second, rest) = clusters.chunks(CHUNK - 30, CHUNK + 50)
    assert (first, second) == (CHUNK - 30, CHUNK)
    np.testing.assert_array_equal(np.concatenate([some, rest]), whole[CHUNK - 30 : CHUNK + 50])
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-6)


def test_studies_measure_all_ways_and_leave_nothing_behind(db: medcbir.Database, tmp_path: Path) -> None:
    before = db.query("SELECT datname FROM pg_database ORDER BY 1")
    with scratch(db, tmp_path) as own:
        fill(own, 300, 16, 40)
        runs = run_study(own, 300, 16, 40, 1, others=True)
        single = single_study(own, 300, 16, 2)
        layouts = layout_study(own, 300, 16, 2)
        fill(own, 500, 16, 40)
        assert own.query("SELECT split, count(*) FROM image GROUP BY 1 ORDER BY 1") == [("test", 40), ("train", 500)]
    assert db.query("SELECT datname FROM pg_database ORDER BY 1") == before
    assert db.query("SELECT count(*) FROM image") == [(0,)]
    assert [each.way for each in runs] == [
        FAISS,
        "medcbir retrieve",
        "one pgvector statement per query",
        "one statement per query, four TOASTed columns",
        "HNSW, one statement per query",
        "medcbir retrieve, first run",
    ]
    assert {each.case for each in runs} == {"300 x 16, 40 queries, N = 10"}
    assert runs[0].ratio is None
    assert all(each.ratio is not None and each.ratio > 0 for each in runs[1:])
    assert "0 differences" in runs[1].note
    assert runs[-1].peak_mib is not None
    assert 50 < runs[-1].peak_mib < 4096
    for study in (single, layouts):
        assert study.measurements[0].way == study.baseline
        assert all(each.low <= each.seconds <= each.high for each in study.measurements)
        json.dumps(asdict(study))


def test_the_papers_size_is_one_command(db: medcbir.Database, tmp_path: Path) -> None:
    study = retrieval_at_scale(db, tmp_path, images=400, queries=30)
    (measured,) = study.measurements
    assert measured.items == 30
    assert "0 differences" in measured.note
