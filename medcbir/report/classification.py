"""The section on classification: table 4 of Denner et al. 2024."""

from medcbir.evaluation.classification import metrics
from medcbir.report.material import Material
from medcbir.report.precision import accompanied
from medcbir.report.registry import name_of
from medcbir.report.sections import Section
from medcbir.report.tables import Cell, Column, Measure, Table
from medcbir.store.classifications import find_classification
from medcbir.types import Classification

_METHODS = (("knn", "kNN"), ("linear", "Linear"))
_METRICS = (("auprc", "AUPRC"), ("f1", "F1"))


def classification(material: Material) -> Section:
    """Table 4: AUPRC and F1 of the kNN vote and the linear probe."""
    title = "Classification (Table 4)"
    made_of = {each.encoder: each for each in material.results if each.knn is not None or each.linear is not None}
    encoders = list(made_of.values())
    if not encoders:
        return Section("classification", title, ("Left out: no encoder has a kNN or a linear classification.",))
    made: dict[tuple[str, str], Classification] = {
        (each.encoder, method): find_classification(material.connection, number)
        for each in encoders
        for method, _ in _METHODS
        if (number := getattr(each, method)) is not None
    }
    values: dict[tuple[str, ...], float | None] = {
        (*key, metric.metric, metric.average): metric.value
        for key, of in made.items()
        if of.labelled_queries
        for metric in metrics(material.connection, of)
    }
    columns, found = [Column("encoder", "Encoder")], []
    for method, name in _METHODS:
        for average in ("micro", "macro"):
            for metric, head in _METRICS:
                columns.append(
                    Column(f"{method}_{average}_{metric}", head, f"{name}, {average}", digits=3, measure=True)
                )
                found.append(
                    accompanied(
                        [Measure(values.get((each.encoder, method, metric, average))) for each in encoders],
                        [("4", name_of(each.encoder), method, metric, None, average) for each in encoders],
                    )
                )
    columns.append(Column("k", "K", "kNN", digits=0))
    rows: list[tuple[Cell, ...]] = []
    for place, each in enumerate(encoders):
        voted = made.get((each.encoder, "knn"))
        rows.append((material.title_of(each.encoder), *(column[place] for column in found), voted.k if voted else None))
    text = (
        "How well the neighbours' vote, and one linear layer, tell the classes of the test images. K is chosen on the "
        "validation images; the linear layer stops early by them. AUPRC is average precision, one class "
        "against the rest.",
    )
    published = any(each.published is not None for column in found for each in column)
    caption = f"AUPRC and F1 of each encoder{'; below, the published value and the difference' if published else ''}"
    table = Table("classification", caption, tuple(columns), tuple(rows))
    return Section("classification", title, text, (table, _how(material, made)))


def _how(material: Material, made: dict[tuple[str, str], Classification]) -> Table:
    """How K was chosen and the training went."""
    return Table(
        "classifiers",
        "How K was chosen and the linear layers were trained",
        (
            Column("encoder", "Encoder"),
            Column("method", "Method"),
            Column("queries", "Images", digits=0),
            Column("classes", "Classes", digits=0),
            Column("k", "K", digits=0),
            Column("validation_run", "K chosen on run"),
            Column("epochs", "Epochs", digits=0),
            Column("best_epoch", "Best epoch", digits=0),
            Column("seconds", "Seconds", digits=1),
        ),
        tuple(
            (
                material.title_of(encoder),
                dict(_METHODS)[method],
                each.labelled_queries,
                each.classes,
                each.k,
                each.certificate.get("validation_run"),
                each.certificate.get("epochs_run"),
                each.certificate.get("best_epoch"),
                each.seconds,
            )
            for (encoder, method), each in made.items()
        ),
        folded=True,
    )
