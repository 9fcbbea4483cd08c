"""What is kept of a speed study: all its numbers, and a picture that can be read."""

import json
from pathlib import Path
from xml.etree import ElementTree

from medcbir.bench.speed import to_markdown, to_svg, write_study
from medcbir.bench.study import Measurement, Study

STUDY = Study(
    name="search",
    title="Searches <of> one image",
    baseline="plain SQL",
    measurements=(
        Measurement("1,000 x 8", "plain SQL", 2.0, 1.0, 4.0, 3, 100, "queries", note="warm"),
        Measurement("1,000 x 8", "medcbir | blocked", 0.5, 0.4, 0.8, 3, 100, "queries", 4.0, 120.4, {"products": 0.75}),
    ),
    about="Both exact.",
)


def test_a_study_is_kept_whole_as_json(tmp_path: Path) -> None:
    write_study(STUDY, tmp_path)
    kept = json.loads((tmp_path / "search.json").read_text())
    assert [each["seconds"] for each in kept.pop("measurements")] == [2.0, 0.5]
    assert kept == {"name": "search", "title": STUDY.title, "baseline": "plain SQL", "about": "Both exact."}
    assert {file.name for file in tmp_path.iterdir()} == {"search.json", "search.md", "search.svg"}


def test_its_table_has_a_row_per_way_with_rate_range_and_ratio() -> None:
    lines = to_markdown(STUDY).splitlines()
    assert r"| 1,000 x 8 | plain SQL | 50.0 queries | 2.000 | 1.000 | 4.000 | 3 |  |  |" in lines
    assert r"| 1,000 x 8 | medcbir \| blocked | 200.0 queries | 0.500 | 0.400 | 0.800 | 3 | 4.00 | 120 |" in lines
    assert "- 1,000 x 8, medcbir | blocked: products 75%" in lines
    assert "- 1,000 x 8, plain SQL: warm" in lines


def test_its_picture_has_bars_in_proportion_to_the_rates_and_a_title() -> None:
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(to_svg(STUDY))  # noqa: S314, our own
    bars = [float(each.attrib["width"]) for each in root.iter(f"{svg}rect") if each.attrib["width"] != "100%"]
    assert bars[1] / bars[0] == 4.0
    assert root.findtext(f"{svg}title") == "Searches <of> one image: items per second, longer is faster"
    assert any("x 4.00" in str(each.text) for each in root.iter(f"{svg}text"))
