"""Results for people to read: pictures of queries with their neighbours, and a self-contained HTML report.

Runs and catalogued images enter; PNG and HTML files leave. Every number shown comes from a view or a query of `sql/`
and is only formatted here. Pictures and pages must never name a patient or a file, and a page loads nothing.
"""

from medcbir.report.benchmark import write_benchmark
from medcbir.report.contents import EncoderResults, Provenance, StepFact
from medcbir.report.grid import draw_grid, save_grid
from medcbir.report.page import Story, write_report
from medcbir.report.tiles import Row, Tile

__all__ = [
    "EncoderResults",
    "Provenance",
    "Row",
    "StepFact",
    "Story",
    "Tile",
    "draw_grid",
    "save_grid",
    "write_benchmark",
    "write_report",
]
