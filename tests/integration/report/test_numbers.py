"""What a report shows are the views' numbers, digit for digit, in every format; read here by other statements."""

import csv
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from html.parser import HTMLParser
from inspect import isfunction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medcbir.evaluation.published import published
from medcbir.report.material import Material

N = (1, 3, 5, 10)


def close(number: Any) -> Any:
    """The same but for the order in which a plan adds up."""
    return pytest.approx(number, abs=1e-12)


class Tables(HTMLParser):
    """Cells of the body of every table of a page, by caption."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._in = ""
        self._caption = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._rows, self._caption, self._in = [], "", ""
        elif tag in ("caption", "tbody"):
            self._in = tag
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th") and self._in == "tbody":
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("caption", "tbody"):
            self._in = ""
        elif tag == "table":
            self.tables[self._caption] = [[" ".join(cell.split()) for cell in row] for row in self._rows if row]

    def handle_data(self, data: str) -> None:
        if self._in == "caption":
            self._caption += data
        elif self._in == "tbody" and self._rows and self._rows[-1]:
            self._rows[-1][-1] += data


@pytest.fixture(scope="module")
def page(reported: SimpleNamespace) -> dict[str, list[list[str]]]:
    return Tables((reported.out / "report.html").read_text(encoding="utf-8")).tables


def rows(reported: SimpleNamespace, name: str) -> list[dict[str, str]]:
    with (reported.out / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def content(reported: SimpleNamespace, name: str) -> list[dict]:
    return json.loads((reported.out / "tables" / f"{name}.json").read_text(encoding="utf-8"))["rows"]


def table(page: dict[str, list[list[str]]], start: str) -> list[list[str]]:
    (found,) = [cells for caption, cells in page.items() if caption.startswith(start)]
    return found


@pytest.mark.parametrize("definition", ["paper", "capped"])
def test_table_2_is_precision_micro_and_precision_macro(reported, page, definition: str) -> None:
    name, column = {"paper": ("retrieval", "precision"), "capped": ("retrieval_capped", "precision_capped")}[definition]
    expected = {
        (encoder, average, n): value
        for average in ("micro", "macro")
        for encoder, n, value in reported.db.query(
            f"SELECT r.name, p.n, p.{column} FROM precision_{average} AS p JOIN run AS r USING (run_id)"
        )
    }
    ends = {
        (run, m.average, m.n): (m.ci_low, m.ci_high)
        for run in ("biomedclip", "clip")
        for m in reported.db.evaluate(run)
        if m.definition == definition
    }
    caption = {"paper": "P@N of each encoder", "capped": "P@N capped"}[definition]
    shown = {cells[0]: cells[1:] for cells in table(page, caption)}
    for title, encoder in (("BiomedCLIP", "biomedclip"), ("CLIP", "clip")):
        (of_csv,) = [row for row in rows(reported, name) if row["encoder"] == title]
        (of_json,) = [row for row in content(reported, name) if row["encoder"] == title]
        for place, (average, n) in enumerate((average, n) for average in ("micro", "macro") for n in N):
            value, (low, high) = expected[encoder, average, n], ends[encoder, average, n]
            key = f"p_at_{n}_{average}"
            assert float(of_csv[key]) == of_json[key]["value"] == close(value)
            assert (float(of_csv[f"{key}_ci_low"]), float(of_csv[f"{key}_ci_high"])) == (close(low), close(high))
            cell = shown[title][place]
            assert cell.startswith(f"{value:.3f}")
            assert f"{low:.3f}–{high:.3f}" in cell
            if definition == "paper":
                paper = published()["2", encoder, "retrieval", "precision", n, average]
                assert float(of_csv[f"{key}_published"]) == paper
                assert float(of_csv[f"{key}_difference"]) == close(value - paper)
                assert f"{paper:.3f}" in cell


def test_table_4_is_classification_f1_and_classification_auprc(reported, page) -> None:
    shown = {cells[0]: cells[1:] for cells in table(page, "AUPRC and F1")}
    for title, result in zip(("BiomedCLIP", "CLIP"), reported.results, strict=True):
        (of_csv,) = [row for row in rows(reported, "classification") if row["encoder"] == title]
        place = 0
        for method in ("knn", "linear"):
            number = getattr(result, method)
            for average in ("micro", "macro"):
                for metric in ("auprc", "f1"):
                    ((value,),) = reported.db.query(
                        f"SELECT {metric} FROM classification_{metric} "
                        "WHERE classification_id = %(id)s AND average = %(average)s",
                        {"id": number, "average": average},
                    )
                    assert float(of_csv[f"{method}_{average}_{metric}"]) == close(value)
                    assert shown[title][place].startswith(f"{value:.3f}")
                    place += 1
        assert of_csv["k"] == shown[title][place] == "3"


def test_classes_groups_and_index_size_are_their_views(reported, page) -> None:
    classes = dict(
        reported.db.query(
            "SELECT l.name, p.precision FROM precision_class AS p JOIN label AS l USING (label_id) "
            "JOIN run AS r USING (run_id) WHERE r.name = 'clip' AND p.n = 1"
        )
    )
    assert {row["class"]: row["clip"] for row in content(reported, "classes")} == close(classes)
    assert {cells[0]: cells[-1] for cells in table(page, "P@1 of each class")} == {
        name: f"{value:.3f}" for name, value in classes.items()
    }
    modalities = dict(
        reported.db.query(
            "SELECT l.modality, avg(p.precision) FROM precision_query AS p JOIN run AS r USING (run_id) "
            "JOIN label AS l USING (label_id) WHERE r.name = 'clip' AND p.n = 1 GROUP BY l.modality"
        )
    )
    assert {row["modality"]: row["clip"] for row in content(reported, "by_modality")} == close(modalities)
    sizes = reported.db.query(
        "SELECT images_per_class, precision, precision_std FROM ablation_precision "
        "WHERE ablation_id = %(id)s ORDER BY images_per_class",
        {"id": reported.results[1].ablation},
    )
    found = [row for row in content(reported, "index_size") if row["encoder"] == "CLIP"]
    assert len(found) == len(sizes) == 2
    for row, expected in zip(found, sizes, strict=True):
        assert (row["images_per_class"], row["precision"], row["std"]) == close(expected)


def test_leakage_is_the_difference_of_two_runs(reported) -> None:
    values = dict(
        reported.db.query(
            "SELECT r.name, precision FROM precision_micro AS p JOIN run AS r USING (run_id) WHERE p.n = 1"
        )
    )
    for row in content(reported, "leakage"):
        encoder = row["encoder"].lower()
        if row["average"] == "micro":
            assert row["included"] == close(values[f"{encoder}-same"])
            assert row["gap"] == close(values[f"{encoder}-same"] - values[encoder])


def test_the_data_card_counts_the_catalogue(reported) -> None:
    counts = reported.db.query(
        "SELECT d.name, count(*) FILTER (WHERE split = 'train'), count(*) FILTER (WHERE split = 'test') "
        "FROM image JOIN dataset AS d USING (dataset_id) GROUP BY 1"
    )
    found = {row["dataset"]: (row["train"]["value"], row["test"]["value"]) for row in content(reported, "data")}
    for dataset, train, test in counts:
        assert found[{"nih14": "NIH14"}.get(dataset, dataset)] == (train, test)
    assert found["All"] == (sum(row[1] for row in counts), sum(row[2] for row in counts))


def test_every_table_is_there_in_every_format_with_the_same_numbers(reported) -> None:
    markdown = (reported.out / "report.md").read_text(encoding="utf-8")
    names = {file.stem for file in reported.files if file.parent.name == "tables"}
    assert {"retrieval", "classification", "pairs", "classes", "leakage", "data", "encoders", "runs", "steps"} <= names
    for name in names:
        of_csv, of_json = rows(reported, name), content(reported, name)
        assert len(of_csv) == len(of_json) > 0
        latex = (reported.out / "tables" / f"{name}.tex").read_text(encoding="utf-8")
        assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1
    for row in content(reported, "retrieval"):
        assert f"{row['p_at_1_micro']['value']:.3f}" in markdown
        assert f"{row['p_at_1_micro']['value']:.3f}" in (reported.out / "tables" / "retrieval.tex").read_text()


def test_once_more_every_byte_is_the_same(reported, tmp_path: Path) -> None:
    again = reported.write(tmp_path)
    assert [file.name for file in again] == [file.name for file in reported.files]
    for one, other in zip(reported.files, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


READ_FROM = ("medcbir.evaluation.", "medcbir.retrieval.", "medcbir.store.")
MODULES = ("benchmark", "cases", "catalogue", "classes", "classification", "making", "material", "precision", "tiles")


def numbers_in(value: Any) -> Iterator[float]:
    """Every number anywhere in a row, a dataclass or JSON."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    elif is_dataclass(value):
        yield from numbers_in([getattr(value, each.name) for each in fields(value)])
    elif isinstance(value, Mapping):
        yield from numbers_in(list(value.values()))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for each in value:
            yield from numbers_in(each)


def test_every_number_of_every_table_was_read(
    reported: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As views have it, or the evaluation's typed rows: watched where the report asks them."""
    read: set[float] = set(numbers_in(reported.results)) | set(numbers_in(reported.provenance))

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            found = function(*arguments, **named)
            read.update(round(each, 12) for each in numbers_in(found))
            return found

        return call

    monkeypatch.setattr(Material, "rows", watched(Material.rows))
    for name in MODULES:
        module = importlib.import_module(f"medcbir.report.{name}")
        for key, value in list(vars(module).items()):
            if isfunction(value) and f"{value.__module__}.".startswith(READ_FROM):
                monkeypatch.setattr(module, key, watched(value))
    tables = [file for file in reported.write(tmp_path) if file.suffix == ".json"]
    shown = {file.stem: set(numbers_in(json.loads(file.read_text())["rows"])) for file in tables}
    assert {name: numbers - read for name, numbers in shown.items() if numbers - read} == {}
    assert len(set.union(*shown.values())) > 150
