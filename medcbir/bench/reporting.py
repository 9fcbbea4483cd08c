"""The last step: what all others found, handed to the report."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medcbir.bench.bench import Bench
from medcbir.bench.counts import differences
from medcbir.bench.steps import Facts, Outcome, Runner, Step
from medcbir.report.contents import EncoderResults, Provenance, StepFact
from medcbir.report.provenance import hardware, versions
from medcbir.types import Progress

_NAMES = {  # fields of EncoderResults: the step and the fact that they are taken from
    "run": ("retrieve", "run"),
    "same_patient_run": ("same-patient", "run"),
    "covid_run": ("covid", "run"),
    "knn": ("knn", "classification"),
    "linear": ("linear", "classification"),
    "ablation": ("ablate", "ablation"),
    "projection": ("map", "projection"),
}


def reporting_step(bench: Bench, runner: Callable[[], Runner]) -> Step:
    """The step `report`; it looks at all others, however they went."""

    def before() -> list[Outcome]:
        return [each for each in runner().outcomes.values() if each.step.kind != "report"]

    def inputs() -> Facts:
        told = [[each.step.name, each.reason, dict(each.facts)] for each in before()]
        return {"program": bench.program, "datasets": bench.datasets, "steps": told}

    def write(progress: Progress) -> Facts:
        from medcbir.report import write_benchmark

        with bench.connection() as connection:
            files = write_benchmark(
                connection,
                bench.out,
                encoder_results(before()),
                _provenance(bench, before()),
                read=bench.db.read_image,
                encoders_dir=bench.db.settings.encoders_dir,
                progress=progress,
            )
        return {"files": {file.relative_to(bench.out).as_posix(): _sha256(file) for file in files}}

    def holds(facts: Facts) -> bool:
        files: dict[str, str] = facts["files"]
        return all(
            (bench.out / name).is_file() and _sha256(bench.out / name) == digest for name, digest in files.items()
        )

    return Step("report", inputs, write, holds=holds, estimate=lambda: 20.0)


def encoder_results(outcomes: list[Outcome]) -> list[EncoderResults]:
    """What there is of each encoder, in the order of the steps."""
    of_encoder: dict[str, list[Outcome]] = {}
    for each in outcomes:
        if each.step.subject is not None:
            of_encoder.setdefault(each.step.subject, []).append(each)
    results = []
    for subject, steps in of_encoder.items():
        facts = {each.step.kind: each.facts for each in steps}
        encoding = next((each for each in steps if each.step.kind == "encode"), None)
        values: dict[str, Any] = {field: facts.get(kind, {}).get(fact) for field, (kind, fact) in _NAMES.items()}
        results.append(
            EncoderResults(
                encoder=str(next((each["encoder"] for each in facts.values() if "encoder" in each), subject)),
                **values,
                images_per_second=facts.get("encode", {}).get("images_per_second"),
                peak_mib=encoding.peak_mib if encoding else None,
                failures=tuple(f"{each.step.kind}: {each.reason}" for each in steps if each.status == "failed"),
            )
        )
    return results


def _provenance(bench: Bench, outcomes: list[Outcome]) -> Provenance:
    facts = next((each.facts for each in outcomes if each.step.kind == "data"), {})
    return Provenance(
        suite=bench.suite.name,
        commands=(bench.command,),
        hardware=hardware(),
        versions=versions(),
        steps=tuple(
            StepFact(each.step.name, each.status, each.seconds, each.peak_mib, each.reason) for each in outcomes
        ),
        studies=tuple(sorted((bench.out / "speed").glob("*.json"))),
        notes=tuple(differences(facts)),
    )


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
