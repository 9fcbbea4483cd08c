"""The report in a real browser: no error, no request, every picture, all of it by keyboard, enough contrast.

Needs Chromium: `make system-packages` installs Debian's package, or CHROMIUM names one.
"""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from medcbir.report import figures
from medcbir.report.map_figure import Group, point_map
from medcbir.report.render import packaged, render
from medcbir.report.sections import Section

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (make system-packages), so no page was opened in a browser"
)

POINTS = 1_600_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def large_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with a map of 1.6 million points of 185 classes."""
    rng = np.random.default_rng(0)
    sizes = np.diff(np.linspace(0, POINTS**0.25, 186) ** 4).round().astype(int).tolist()
    sizes[-1] += POINTS - sum(sizes)
    groups = [
        Group(
            ("CT", "MR", "US", "XR")[number % 4], f"region {number % 12}", f"finding {number}", "pathology", "set", size
        )
        for number, size in enumerate(sizes)
    ]
    points = np.concatenate(
        [rng.normal(scale=30, size=2) + rng.normal(scale=9, size=(size, 2)) for size in sizes]
    ).astype(np.float32)
    file = tmp_path_factory.mktemp("map") / "map.html"
    section = Section("map", "Map", ("All of them.",), (point_map(groups, points, "encoder"),))
    page = render(
        "benchmark.html",
        script=packaged("map.js"),
        title="Map",
        lead="A map.",
        suite="test",
        facts=[],
        problems=(),
        sections=[section],
        series=figures.SERIES,
    )
    file.write_text(page, encoding="utf-8")
    return file


def opened(browser: Browser, file: Path, **options: Any) -> tuple[Page, list[str]]:
    """The page, and whatever went wrong or was asked for beyond it."""
    page = browser.new_context(**options).new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: told.append(f"error: {error}"))
    page.on("request", lambda request: told.append(request.url[:100]) if not request.url.startswith("data:") else None)
    page.goto(file.as_uri())
    assert told.pop(0) == file.as_uri()
    return page, told


def until(page: Page, condition: str) -> None:
    """Wait until the condition holds; the page's policy forbids playwright's own way."""
    end = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


@pytest.fixture(params=["light", "dark"])
def shown(request: pytest.FixtureRequest, browser: Browser, reported: SimpleNamespace) -> tuple[Page, list[str]]:
    return opened(
        browser, reported.out / "report.html", color_scheme=request.param, viewport={"width": 1366, "height": 900}
    )


def test_it_opens_without_error_or_request_and_shows_every_picture(shown: tuple[Page, list[str]]) -> None:
    page, told = shown
    broken = page.evaluate("[...document.images].filter((each) => !each.complete || !each.naturalWidth).length")
    assert (page.evaluate("document.images.length") > 10, broken, told) == (True, 0, [])
    drawings = page.evaluate("[...document.querySelectorAll('svg.drawing')].map((each) => each.getBBox().width)")
    assert len(drawings) >= 4
    assert min(drawings) > 200
    marks = page.evaluate(
        "[...document.querySelectorAll('svg use')].map((e) => e.getBBox().width + e.getBBox().height)"
    )
    assert len(marks) > 10
    assert min(marks) > 0


def test_axe_finds_nothing_to_mend(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    # the shadow that tells that there is more to scroll to is a picture, on which axe does not judge
    page.evaluate("document.querySelectorAll('.scroll').forEach((each) => { each.style.background = 'none'; })")
    found = Axe().run(page, options={"resultTypes": ["violations", "incomplete"]}).response
    assert [(each["id"], each["nodes"][0]["html"][:120]) for each in found["violations"]] == []
    unsure = [node for each in found["incomplete"] if each["id"] == "color-contrast" for node in each["nodes"]]
    assert {"bgImage", "bgGradient"} & {
        check["data"]["messageKey"] for node in unsure for check in node["any"]
    } == set()
    assert "color-contrast" in {each["id"] for each in found["passes"]}


def test_everything_that_can_be_used_is_reached_by_keyboard(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown
    count = (
        "document.querySelectorAll('a[href], button, select, summary, [tabindex=\"0\"]').length"
        " - document.querySelectorAll('details:not([open]) [tabindex=\"0\"]').length"
    )
    page.evaluate("window.reached = new Set()")
    for _ in range(page.evaluate(count) + 5):  # the script may still be at work, and go from the last to the first
        page.keyboard.press("Tab")
        page.evaluate("document.activeElement !== document.body && window.reached.add(document.activeElement)")
    assert page.evaluate("window.reached.size") == page.evaluate(count) > 20


def test_on_a_narrow_screen_nothing_overflows(browser: Browser, reported: SimpleNamespace) -> None:
    page, told = opened(browser, reported.out / "report.html", viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert told == []


def test_a_map_of_1_6_million_points_is_small_drawn_and_moved(browser: Browser, large_map: Path) -> None:
    assert large_map.stat().st_size < 5_000_000
    page, told = opened(browser, large_map, viewport={"width": 1366, "height": 900})
    page.wait_for_selector(f"#map-canvas[data-drawn='{POINTS}']", timeout=30_000)

    canvas = page.locator("#map-canvas")
    whole = canvas.screenshot()
    assert len(whole) > 50_000
    page.focus("#map-canvas")
    started = time.perf_counter()
    page.keyboard.press("+")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert time.perf_counter() - started < 5
    assert canvas.screenshot() != whole
    page.keyboard.press("0")
    page.select_option("#map-only", "CT")
    until(page, f"Number(document.getElementById('map-canvas').dataset.drawn) < {POINTS}")
    page.select_option("#map-colour", "finding")
    page.wait_for_selector("#map-legend li:nth-child(40)")
    before = int(page.get_attribute("#map-canvas", "data-drawn") or 0)
    page.click("#map-legend button >> nth=0")
    until(page, f"Number(document.getElementById('map-canvas').dataset.drawn) < {before}")
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    until(page, "document.getElementById('map-here').textContent.includes('CT/region')")
    assert told == []
    assert [each["id"] for each in Axe().run(page).response["violations"]] == []


def test_on_paper_it_is_light_and_the_map_is_a_picture(browser: Browser, large_map: Path) -> None:
    page, _ = opened(browser, large_map, color_scheme="dark")
    page.wait_for_selector(".map.live")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#map-canvas").is_hidden()
    assert page.locator(".panels img").count() == 3
    assert all(each.is_visible() for each in page.locator(".panels img").all())
    assert page.pdf(format="A4").startswith(b"%PDF")
