"""The SQL examples of docs/retrieval.md run as they stand, beside a hospital's own table."""

import re
from pathlib import Path

import numpy as np
import pytest

import medcbir

PAGE = Path(__file__).resolve().parents[2] / "docs" / "retrieval.md"
BLOCKS = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
EXAMPLES = [block for block in BLOCKS if "GRANT" not in block]


@pytest.fixture
def hospital(db: medcbir.Database, tmp_path: Path) -> medcbir.Database:
    lines = ["uri,dataset,patient,split,modality,region,finding"]
    for number in range(40):
        finding = ("effusion", "none")[number % 2]
        lines.append(f"{number},own,p{number // 2},{'test' if number < 10 else 'train'},CT,chest,{finding}")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    db.ingest(tmp_path / "m.csv", metadata_only=True)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "v.npz", uri=np.arange(40).astype(str), vector=rng.normal(size=(40, 8)))
    db.import_vectors(tmp_path / "v.npz", encoder="biomedclip")
    db.query("UPDATE image SET study_uid = '1.2.' || image_id / 3 RETURNING 1")
    with medcbir.store.connection.open_database(db.conninfo, install="never") as connection:
        connection.execute(
            "CREATE SCHEMA hospital; CREATE TABLE hospital.study AS "
            "SELECT DISTINCT study_uid, DATE '2024-05-17' AS read_on, "
            "CASE WHEN image_id % 2 = 0 THEN 'effusion' ELSE 'no finding' END AS conclusion, true AS revised "
            "FROM medcbir.image WHERE image_id % 3 = 0"
        )
    db.retrieve(encoder="biomedclip", n=5, name="baseline")
    db.build_index("biomedclip")
    return db


def test_the_examples_answer(hospital: medcbir.Database) -> None:
    assert len(EXAMPLES) == 5
    answers = [hospital.query(statement) for statement in EXAMPLES]
    assert [row[0] for row in answers[0]] == list(range(1, 11))
    assert all(answers)
    relevant = hospital.query("SELECT query_uri, rank, relevant, label FROM medcbir.neighbour WHERE run = 'baseline'")
    assert len(relevant) == 50
    findings = dict(hospital.query("SELECT uri, findings[1] FROM image_vectors"))
    assert all(right == label.endswith(findings[uri]) for uri, _, right, label in relevant)
    first = hospital.search(image_id=1, encoder="biomedclip", n=10, exclude_same_patient=True)
    assert [hit.rank for hit in first] == [row[0] for row in answers[0]]
    assert [round(hit.distance, 4) for hit in first] == [float(row[1]) for row in answers[0]]
