"""A report escapes what data bring, names no patient and no file, shows no burned-in text, and says what is missing."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from medcbir.report import Provenance, figures, write_benchmark
from medcbir.report.stored import write_stored
from medcbir.store.connection import open_database


@pytest.fixture(scope="module")
def page(reported: SimpleNamespace) -> str:
    return (reported.out / "report.html").read_text(encoding="utf-8")


def test_no_tag_of_the_data_is_a_tag_of_the_page(page: str) -> None:
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<b>" not in page
    assert "<no>" not in page
    assert "<smoke>" not in page


def test_other_formats_escape_too(reported: SimpleNamespace) -> None:
    assert "<script" not in (reported.out / "report.md").read_text(encoding="utf-8").replace(r"\<script", "")
    latex = (reported.out / "tables" / "classes.tex").read_text(encoding="utf-8")
    assert r"\input" not in latex
    assert r"\textbackslash{}input" in latex


def test_neither_patients_nor_files_are_named(reported: SimpleNamespace) -> None:
    for file in reported.files:
        text = re.sub(r"data:[^\"]+", "", file.read_text(encoding="utf-8"))
        assert not re.search(r"Doe\d|secretfile|secretscan", text), file.name
        assert str(reported.folder) not in text, file.name


def test_the_page_loads_nothing_and_its_policy_says_so(page: str) -> None:
    sources = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", page)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<[^>]* (style|on\w+)=", page)


def test_tables_have_captions_and_pictures_have_words(page: str) -> None:
    assert page.count("<caption") == page.count("<table") > 12
    assert all("scope=" in head for head in re.findall(r"<th\b[^>]*>", page))
    assert len(re.findall(r"<img[^>]* alt=\"[^\"]+\"", page)) == page.count("<img") > 0
    assert page.count('role="img" aria-label=') >= page.count("<svg") - page.count('<svg aria-hidden="true"') > 3


def test_an_image_with_burned_in_text_is_left_out(reported: SimpleNamespace, tmp_path: Path) -> None:
    reported.db.query(
        "UPDATE image SET attributes = attributes || '{\"burned_in\": true}' WHERE path IS NOT NULL RETURNING 1"
    )
    reported.write(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" not in page
    reported.db.query("UPDATE image SET attributes = attributes - 'burned_in' RETURNING 1")


def test_what_is_missing_is_said_in_a_line(reported: SimpleNamespace, page: str) -> None:
    assert "<dd>no run on the COVID-19 set is there.</dd>" in page
    assert "<dd>no speed study was run" in page


def test_an_encoder_that_only_failed_has_a_report_that_says_why(reported: SimpleNamespace, tmp_path: Path) -> None:
    from medcbir.report import EncoderResults

    results = [EncoderResults("sam", failures=("encode: checkpoint <sam.pth> not found",))]
    with open_database(reported.db.conninfo, install="never") as connection:
        write_benchmark(connection, tmp_path, results, Provenance("paper", (), {}, {}), read=reported.db.read_image)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "SAM: encode: checkpoint &lt;sam.pth&gt; not found" in page
    assert page.count("<dd>no ") >= 10


def test_without_matplotlib_the_tables_stand_and_the_extra_is_named(
    reported: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "available", lambda: False)
    reported.write(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "medcbir[bench]" in page
    assert 'class="drawing"' not in page
    assert "P@N of each encoder" in page


def test_a_report_of_stored_runs_finds_what_belongs_to_them(reported: SimpleNamespace, tmp_path: Path) -> None:
    with open_database(reported.db.conninfo, install="never") as connection:
        written = write_stored(connection, tmp_path, [], read=reported.db.read_image)
    names = {file.name for file in written}
    assert {"retrieval.csv", "classification.csv", "leakage.csv", "index_size.csv", "report.html"} <= names
    assert (tmp_path / "tables" / "retrieval.csv").read_text() == (
        reported.out / "tables" / "retrieval.csv"
    ).read_text()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'id="map-points"' in page
    assert (
        "medcbir retrieve --encoder clip -n 10 --queries test --index train --exclude-same-patient --name clip" in page
    )


def test_several_runs_of_one_encoder_are_told_apart(reported: SimpleNamespace, tmp_path: Path) -> None:
    runs = [reported.db.run(name) for name in ("clip", "clip-same")]
    with open_database(reported.db.conninfo, install="never") as connection:
        write_stored(connection, tmp_path, runs, read=reported.db.read_image)
    retrieval = json.loads((tmp_path / "tables" / "retrieval.json").read_text())
    assert [row["encoder"] for row in retrieval["rows"]] == ["CLIP, run clip", "CLIP, run clip-same"]
    modalities = json.loads((tmp_path / "tables" / "by_modality.json").read_text())["rows"]
    head = next(row for row in modalities if row["modality"] == "MR")
    values = {
        run.name: next(
            each.value
            for each in reported.db.evaluate(run, n=[1], by="modality", intervals=False)
            if (each.group, each.average, each.definition) == ("MR", "micro", "paper")
        )
        for run in runs
    }
    assert {name: head[name] for name in values} == pytest.approx(values, abs=1e-11)


def test_the_command_writes_the_report(reported: SimpleNamespace, run_medcbir, tmp_path: Path) -> None:
    done = run_medcbir("report", "clip", "--out", tmp_path / "r", DATABASE_URL=reported.db.conninfo)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    assert "Medical image retrieval by 1 encoder<" in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
