"""Sections on classes: P@N of each (figure 3 A), of groups of them, and against the size of the index (figure 3 B)."""

from itertools import groupby

from medcbir.evaluation.metrics import Facet
from medcbir.report import figures
from medcbir.report.material import Material
from medcbir.report.sections import Block, Section
from medcbir.report.tables import Column, Table

_FACETS: tuple[tuple[Facet, str], ...] = (
    ("kind", "kind of class"),
    ("modality", "modality"),
    ("region", "region"),
    ("dataset", "dataset"),
)


def classes(material: Material) -> Section:
    """Figure 3 A, and P@N of each class by every encoder."""
    title = "Classes (Figure 3 A)"
    best = material.headline()
    if best is None:
        return Section("classes", title, ("Left out: no encoder has a retrieval run.",))
    n = material.sizes()[0]
    found = material.rows("report_classes", run_ids=material.run_ids, n=n)
    drawn = figures.size_and_precision(
        [
            figures.ClassPoint(each.label, each.kind, each.index_images, each.precision)
            for each in found
            if each.run_id == best[1].run_id
        ],
        material.name_of(best[0]),
        n,
    )
    rows = []
    for _, group in groupby(found, key=lambda each: each.label):
        of = {each.run_id: each for each in group}
        one = next(iter(of.values()))
        values = (of[run_id].precision if run_id in of else None for run_id in material.run_ids)
        rows.append((one.label, one.kind, one.queries, one.index_images, *values))
    table = Table(
        "classes",
        f"P@{n} of each class",
        (
            Column("class", "Class"),
            Column("kind", "Kind"),
            Column("queries", "Queries", digits=0),
            Column("index_images", "Index images", digits=0),
            *(
                Column(material.key_of(each), material.name_of(each), f"P@{n}", digits=3)
                for each, _ in material.retrieved
            ),
        ),
        tuple(rows),
        folded=len(rows) > 20,
    )
    text = (
        "Each class by itself: frequent classes are found more easily, and anatomy more easily than pathology. Queries "
        "and index images are those of the first encoder that has the class.",
    )
    return Section("classes", title, text, (*([drawn] if drawn else []), table))


def groups(material: Material) -> Section:
    """P@N within modalities, regions, datasets and kinds of class."""
    title = "Groups of images"
    if not material.retrieved:
        return Section("groups", title, ("Left out: no encoder has a retrieval run.",))
    n = material.sizes()[0]
    blocks: list[Block] = []
    for facet, words in _FACETS:
        values: dict[str, dict[str, float | None]] = {}
        queries: dict[str, int] = {}
        for _, run in material.retrieved:
            for each in material.metrics(run, [n], by=facet, intervals=False):
                if each.definition == "paper" and each.average == "micro" and each.group is not None:
                    values.setdefault(each.group, {})[run.name] = each.value
                    queries.setdefault(each.group, each.queries)
        if len(values) < 2:
            continue
        blocks.append(
            Table(
                f"by_{facet}",
                f"P@{n}, micro, by {words}",
                (
                    Column(facet, words.capitalize()),
                    Column("queries", "Queries", digits=0),
                    *(
                        Column(material.key_of(each), material.name_of(each), f"P@{n}", digits=3)
                        for each, _ in material.retrieved
                    ),
                ),
                tuple(
                    (group, queries[group], *(of.get(run.name) for _, run in material.retrieved))
                    for group, of in sorted(values.items())
                ),
            )
        )
    text = (
        ("The same queries, averaged within each group.",)
        if blocks
        else ("Left out: all queries are of one modality, region, dataset and kind of class.",)
    )
    return Section("groups", title, text, tuple(blocks))


def index_size(material: Material) -> Section:
    """Figure 3 B: P@N against the number of index images per class."""
    title = "Size of the index (Figure 3 B)"
    wanted = [each.ablation for each in material.results if each.ablation is not None]
    found = material.rows("report_ablation", ablation_ids=wanted) if wanted else []
    if not found:
        return Section("index-size", title, ("Left out: no ablation of the index's size is there.",))
    n = min(each.n for each in found)
    points = [each for each in found if each.n == n]
    lines = [
        (
            material.title_of(encoder),
            [
                figures.LinePoint(each.images_per_class, each.precision, each.one_below, each.one_above)
                for each in group
            ],
        )
        for encoder, group in groupby(points, key=lambda each: each.encoder)
    ]
    drawn = figures.index_size(lines, n)
    table = Table(
        "index_size",
        f"P@{n} against the number of index images per class",
        (
            Column("encoder", "Encoder"),
            Column("images_per_class", "Images per class", digits=0),
            Column("precision", f"P@{n}, mean", digits=3),
            Column("std", "Std. dev.", digits=3),
            Column("seeds", "Draws", digits=0),
            Column("classes", "Classes", digits=0),
            Column("queries", "Queries", digits=0),
        ),
        tuple(
            (
                material.title_of(each.encoder),
                each.images_per_class,
                each.precision,
                each.precision_std,
                each.seeds,
                each.classes,
                each.queries,
            )
            for each in points
        ),
        folded=True,
    )
    text = (
        "Classes with many index images, each with equally many queries; the index holds so many images of each, drawn "
        "anew for each seed.",
    )
    return Section("index-size", title, text, (*([drawn] if drawn else []), table))
