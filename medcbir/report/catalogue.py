"""Sections on what went in: the data (table 5 and figure 4 of Denner et al. 2024) and the encoders (table 1)."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from medcbir.evaluation.published import Beside, count_beside_published
from medcbir.report import figures
from medcbir.report.material import Material
from medcbir.report.sections import Block, Section
from medcbir.report.tables import Cell, Column, Measure, Table
from medcbir.types import Split

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_TITLES = {
    "radimagenet": "RadImageNet",
    "nih14": "NIH14",
    "mimic": "MIMIC",
    "chexpert": "CheXpert",
    "covid": "COVID-19",
}


def data(material: Material) -> Section:
    """The data card."""
    title = "Data (Table 5, Figure 4)"
    if not material.retrieved:
        return Section("data", title, ("Left out: no encoder has a retrieval run.",))
    run_ids = material.run_ids
    card = material.rows("report_data", run_ids=run_ids)
    sizes = material.rows("report_class_sizes", run_ids=run_ids)
    left_out = material.rows("report_left_out", run_ids=run_ids)
    ((duplicates, leaks),) = material.rows("count_duplicates")
    rows: list[tuple[Cell, ...]] = [
        (
            "All" if each.total else _TITLES.get(each.dataset, each.dataset),
            "" if each.total else each.modality,
            *(_count(each, split) for split in _SPLITS),
            each.patients,
            each.pathology,
            each.anatomy,
        )
        for each in card
    ]
    table = Table(
        "data",
        f"Images with exactly one label{_with_published(rows)}",
        (
            Column("dataset", "Dataset"),
            Column("modality", "Modality"),
            *(Column(split, split, "Images", digits=0, measure=True) for split in _SPLITS),
            Column("patients", "Patients", digits=0),
            Column("pathology", "pathology", "Classes", digits=0),
            Column("anatomy", "anatomy", "Classes", digits=0),
        ),
        tuple(rows),
    )
    blocks: list[Block] = [table]
    if drawn := figures.imbalance([each.images for each in sizes]):
        blocks.append(drawn)
    blocks.append(
        Table(
            "class_sizes",
            "Images of each class",
            (
                Column("class", "Class"),
                Column("kind", "Kind"),
                *(Column(split, split, "Images", digits=0) for split in _SPLITS),
                Column("images", "all", "Images", digits=0),
            ),
            tuple((each.label, each.kind, each.train, each.val, each.test, each.images) for each in sizes),
            folded=len(sizes) > 20,
        )
    )
    if left_out:
        blocks.append(
            Table(
                "left_out",
                "What takes no part, by reason",
                (Column("reason", "Reason"), Column("kind", "Kind"), Column("count", "Images or files", digits=0)),
                tuple((each.reason, each.kind.replace("_", " "), each.files) for each in left_out),
                folded=len(left_out) > 20,
            )
        )
    text = (
        "Training images are the index, test images the queries; validation images choose K and when to stop. Patients "
        "are counted where the dataset names them.",
        f"{duplicates:,} images of the catalogue have the pixels of another, {leaks:,} of them one in another split."
        if duplicates
        else "No image of the catalogue has the pixels of another.",
    )
    return Section("data", title, text, tuple(blocks))


def _with_published(rows: Sequence[Sequence[Cell]]) -> str:
    published = any(isinstance(cell, Measure) and cell.published is not None for row in rows for cell in row)
    return "; below, the published number and the difference, where it is another" if published else ""


def _count(row: Any, split: Split) -> Measure:
    """A number of images, with what table 5 has there if that is another."""
    images: int = getattr(row, split)
    beside = Beside() if row.total else count_beside_published(images, row.dataset, row.modality, split)
    return Measure(images, **asdict(beside)) if beside.difference else Measure(images)


def encoders(material: Material) -> Section:
    """Table 1, with licence and provenance."""
    names = list(dict.fromkeys(each.encoder for each in material.results))
    stored = {each.name: each for each in material.rows("report_encoders", names=names)}
    rows: list[tuple[Cell, ...]] = []
    prints: list[tuple[Cell, ...]] = []
    for name in names:
        spec, each = material.spec_of(name), stored.get(name)
        rows.append(
            (
                material.title_of(name),
                spec.architecture if spec else None,
                spec.domain if spec else None,
                ", ".join(spec.trained_on) if spec else None,
                _seen(None if spec is None else spec.seen),
                each.dim if each else spec.dim if spec else None,
                spec.licence if spec else None,
                "none" if each is None else "imported" if each.imported else "encoded here",
            )
        )
        if each is not None:
            checkpoint = each.recipe.get("checkpoint", {}) if isinstance(each.recipe, dict) else {}
            prints.append(
                (
                    material.title_of(name),
                    name,
                    checkpoint.get("file"),
                    each.checkpoint_sha256,
                    spec.checkpoint.source if spec else None,
                    ", ".join(f"{library} {version}" for library, version in sorted(each.versions.items())) or None,
                )
            )
    table = Table(
        "encoders",
        "Encoders (table 1)",
        (
            Column("encoder", "Encoder"),
            Column("architecture", "Architecture"),
            Column("domain", "Domain"),
            Column("trained_on", "Trained on"),
            Column("seen", "Benchmark data seen"),
            Column("dim", "Dimension", digits=0),
            Column("licence", "Licence"),
            Column("vectors", "Vectors"),
        ),
        tuple(rows),
    )
    provenance = Table(
        "checkpoints",
        "Weights",
        (
            Column("encoder", "Encoder"),
            Column("name", "Name here"),
            Column("file", "File"),
            Column("sha256", "SHA-256"),
            Column("source", "Source"),
            Column("versions", "Libraries"),
        ),
        tuple(prints),
        folded=True,
    )
    text = (
        "An encoder that was trained on datasets of this benchmark has an advantage there. Where vectors were "
        "imported, the name is all that tells which encoder made them.",
    )
    return Section("encoders", "Encoders (Table 1)", text, (table, *([provenance] if prints else [])))


def _seen(seen: tuple[str, ...] | None) -> str:
    if seen is None:
        return "not known"
    return ", ".join(_TITLES.get(each, each) for each in seen) or "nothing"
