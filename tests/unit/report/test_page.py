"""The report escapes what the data bring, loads nothing, and names neither patients nor files."""

import re

import numpy as np
import pytest
from PIL import Image

import medcbir
from medcbir.report import Story, write_report
from medcbir.store.connection import open_database

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def evaluated(db: medcbir.Database, tmp_path):
    """Runs with and without the same patient, over images whose finding, source and story are hostile."""
    lines = ["uri,dataset,patient,split,modality,region,finding,source"]
    for number in range(6):
        Image.fromarray(np.full((24, 24), 40 * number, np.uint8)).save(tmp_path / f"secret{number}.png")
        split, patient = ("test", "Doe7") if number < 2 else ("train", f"Roe{number}")
        lines.append(f"secret{number}.png,set,{patient},{split},CT,head,{HOSTILE if number < 4 else 'other'},{HOSTILE}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    db.ingest(tmp_path / "manifest.csv", encode=False)
    angles = np.linspace(0, 1, 6)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    np.savez(tmp_path / "v.npz", uri=np.array([f"secret{number}.png" for number in range(6)]), vector=vectors)
    db.import_vectors(tmp_path / "v.npz", encoder="toy")
    runs = [
        db.retrieve(encoder="toy", n=3, queries="test", index=None, exclude_same_patient=excluded)
        for excluded in (True, False)
    ]
    return db, runs


def _page(db: medcbir.Database, file, run, other=None) -> str:
    with open_database(db.conninfo, install="never") as connection:
        story = Story(title=f"About {HOSTILE}", lead=HOSTILE, shows=(HOSTILE,), commands=(HOSTILE,))
        write_report(connection, file, run, story, read=db.read_image, same_patient=other)
    return file.read_text(encoding="utf-8")


@pytest.mark.parametrize("beside", [False, True])
def test_hostile_text_is_escaped_wherever_it_comes_from(evaluated, tmp_path, beside: bool) -> None:
    db, runs = evaluated
    text = _page(db, tmp_path / "report.html", runs[0], runs[1] if beside else None)
    assert "<script" not in text
    assert "CT/head/&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_nothing_is_loaded_from_elsewhere(evaluated, tmp_path) -> None:
    db, runs = evaluated
    text = _page(db, tmp_path / "report.html", *runs)
    sources = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", text)
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"@import|url\(|<link|<iframe|<script", text)


def test_neither_patients_nor_files_are_named(evaluated, tmp_path) -> None:
    db, runs = evaluated
    text = re.sub(r"data:[^\"]+", "", _page(db, tmp_path / "report.html", *runs))
    assert not re.search(r"Doe7|Roe\d|secret\d", text)
    assert str(tmp_path) not in text


def test_every_picture_has_words_and_every_table_a_caption(evaluated, tmp_path) -> None:
    db, runs = evaluated
    text = _page(db, tmp_path / "report.html", *runs)
    assert len(re.findall(r"<img[^>]* alt=\"[^\"]+\"", text)) == text.count("<img") > 0
    assert text.count("<caption>") == text.count("<table>") == 3
    assert all("scope=" in head for head in re.findall(r"<th\b[^>]*>", text))


def test_the_difference_is_what_the_other_run_has_more(evaluated, tmp_path) -> None:
    db, (excluded, included) = evaluated
    text = _page(db, tmp_path / "report.html", excluded, included)
    of = {run.name: {(m.n, m.average, m.definition): m.value for m in db.evaluate(run)} for run in (excluded, included)}
    differences = [of[included.name][key] - value for key, value in of[excluded.name].items()]
    shown = re.findall(r'<td class="number">([+−]\d\.\d{3})</td>', text)
    assert sorted(shown) == sorted(f"{each:+.3f}".replace("-", "−") for each in differences)


def test_the_same_seed_shows_the_same_pictures(evaluated, tmp_path) -> None:
    db, runs = evaluated
    assert _page(db, tmp_path / "one.html", *runs) == _page(db, tmp_path / "two.html", *runs)
