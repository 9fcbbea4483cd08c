"""The command `medcbir demo`, run as a user runs it, on the real images with the real encoder."""

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def demo(clone, run_medcbir, tmp_path_factory):
    """A finished demo: its database, its folder, and what the command answered."""
    folder = tmp_path_factory.mktemp("demo")
    url = clone()
    done = run_medcbir("demo", "--out", folder / "out", "--database-url", url, MEDCBIR_DATA_DIR=folder / "data")
    assert done.returncode == 0, done.stderr
    text = (folder / "out" / "report.html").read_text(encoding="utf-8")
    return SimpleNamespace(url=url, out=folder / "out", data=folder / "data", answer=done.stdout, text=text)


class _Tables(HTMLParser):
    """The cells of every table's body rows, by the first words of its caption."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._into: list[str] | None = None
        self._caption: list[str] = []
        self._in_body = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._rows, self._caption = [], []
        elif tag == "caption":
            self._into = self._caption
        elif tag == "tbody":
            self._in_body = True
        elif tag == "tr" and self._in_body:
            self._rows.append([])
        elif tag in ("td", "th") and self._in_body:
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "tbody":
            self._in_body = False
        elif tag == "caption":
            self._into = None
        elif tag == "table":
            self.tables["".join(self._caption).split(" of ")[0].split(" by ")[0].strip()] = self._rows

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into.append(data)
        elif self._in_body and self._rows and self._rows[-1]:
            self._rows[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def tables(demo) -> dict[str, list[list[str]]]:
    parser = _Tables()
    parser.feed(demo.text)
    return parser.tables


def _rows(url: str, statement: str) -> list[tuple]:
    with psycopg.connect(url, options="-c search_path=medcbir") as connection:
        return connection.execute(statement).fetchall()


def test_the_report_shows_the_views_precision(demo, tables) -> None:
    values = _rows(
        demo.url,
        """
        SELECT format('%s %s %s', a, p.n, d) AS key, max(v) FILTER (WHERE r.name = 'demo'),
               max(v) FILTER (WHERE r.name = 'demo-same-patient')
        FROM (SELECT 'Micro' AS a, run_id, n, precision, precision_capped FROM precision_micro
              UNION ALL SELECT 'Macro', run_id, n, precision, precision_capped FROM precision_macro) AS p
        CROSS JOIN LATERAL (VALUES ('by N', precision), ('capped', precision_capped)) AS x (d, v)
        JOIN run AS r USING (run_id)
        WHERE p.n IN (1, 3, 5, 10)
        GROUP BY key
        """,
    )
    expected = {key: (f"{one:.3f}", f"{other:.3f}") for key, one, other in values}
    shown: dict[str, tuple[str, str]] = {}
    for cells in tables["P@N"]:
        if len(cells) == 8:
            average, definition = cells[:2]
        n, excluded, _, included, *_ = cells[-6:]
        shown[f"{average} {n} {definition}"] = (excluded, included)
    assert shown == expected
    assert len(shown) == 16


def test_the_report_shows_the_views_classes(demo, tables) -> None:
    expected = [
        (name, str(queries), str(index_images), f"{one:.3f}", f"{ten:.3f}")
        for name, queries, index_images, one, ten in _rows(
            demo.url,
            """
            SELECT l.name, a.queries, a.index_images, a.precision, b.precision
            FROM precision_class AS a
            JOIN precision_class AS b USING (run_id, label_id)
            JOIN label AS l USING (label_id)
            JOIN run AS r USING (run_id)
            WHERE r.name = 'demo' AND a.n = 1 AND b.n = 10
            ORDER BY l.name
            """,
        )
    ]
    shown = [(c[0], c[1], c[3], c[5], c[6]) for c in tables["P@1 and P@10"]]
    assert shown == expected
    assert len(shown) >= 4


def test_the_report_counts_the_catalogue_and_what_was_rejected(demo, tables) -> None:
    ((images, patients),) = _rows(demo.url, "SELECT count(*), count(DISTINCT patient_id) FROM image")
    assert tables["Images"][-1][:3] == ["All", str(images), str(patients)]
    assert sum(int(row[3]) for row in tables["Images"][:-1]) == images
    rejected = dict(_rows(demo.url, "SELECT reason, count(*)::text FROM rejected GROUP BY reason"))
    assert {row[0]: row[-1] for row in tables["Files that could not be used,"]} == rejected
    assert rejected


def test_only_the_run_that_may_retrieve_the_same_patient_does(demo) -> None:
    same = dict(
        _rows(
            demo.url,
            """
            SELECT r.name, count(*) FILTER (WHERE q.patient_id = i.patient_id)
            FROM hit AS h
            JOIN run AS r USING (run_id)
            JOIN image AS q ON q.image_id = h.query_id
            JOIN image AS i ON i.image_id = h.image_id
            GROUP BY r.name
            """,
        )
    )
    assert same["demo"] == 0
    assert same["demo-same-patient"] > 0


def test_the_report_loads_nothing_and_names_no_patient_or_file(demo) -> None:
    sources = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", demo.text)
    assert sources
    assert all(source.startswith("data:") for source in sources)
    words = re.sub(r"data:[^\"]+", "", demo.text)
    for uri, patient in _rows(demo.url, "SELECT uri, source_id FROM image JOIN patient USING (patient_id)"):
        assert Path(uri).name not in words
        assert not re.search(rf"\b{patient}\b", words)
    assert str(demo.out.parent) not in words


def test_report_and_command_say_what_they_cannot_show(demo) -> None:
    for text in (demo.text, demo.answer):
        assert "average brain of 152 adults, not a patient" in " ".join(text.split())
    assert "Diagnostic quality" in demo.text
    assert str(demo.out / "report.html") in demo.answer.replace("\n", "")


def test_the_picture_has_a_row_for_every_class_asked_about(demo, tables) -> None:
    with Image.open(demo.out / "grid.png") as grid:
        assert grid.format == "PNG"
        assert grid.height > 300 * len(tables["P@1 and P@10"])


def test_once_more_it_finds_nothing_new_and_writes_the_report_again(demo, run_medcbir, tables) -> None:
    (demo.out / "report.html").unlink()
    done = run_medcbir("demo", "--out", demo.out, "--database-url", demo.url, MEDCBIR_DATA_DIR=demo.data)
    assert done.returncode == 0, done.stderr
    assert "0 images added, 0 updated" in done.stdout
    parser = _Tables()
    parser.feed((demo.out / "report.html").read_text(encoding="utf-8"))
    assert parser.tables == tables
    assert _rows(demo.url, "SELECT count(*) FROM run") == [(2,)]
