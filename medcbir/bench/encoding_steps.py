"""Steps that give images their vectors: check an encoder's weights, then encode what lacks a vector."""

from medcbir.bench import estimates
from medcbir.bench.bench import Bench
from medcbir.bench.steps import Facts, Step
from medcbir.bench.suites import COVID
from medcbir.encoders import all_specs, find_spec, get_spec, library_versions, recipe_of, recipe_sha256
from medcbir.errors import EncoderError
from medcbir.types import EncodeReport, Progress


def encoding_steps(bench: Bench, encoder: str, needs: tuple[str, ...] = ()) -> list[Step]:
    """The steps of an encoder of the registry, or of a user's own."""
    spec = get_spec(encoder, bench.db.settings.encoders_dir)
    weights_dir = bench.db.settings.weights_dir

    def weights_inputs() -> Facts:
        return {"recipe": recipe_of(spec, weights_dir), "libraries": library_versions()}

    def check(progress: Progress) -> Facts:
        progress.begin("weights", "encoders", 1)
        (found,) = bench.db.verify_encoders([encoder], progress=progress)
        if found.state != "ok":
            raise EncoderError(found.reason)
        return {"sha256": found.sha256, "known_sha256": found.known_sha256, "golden": found.golden}

    def encode_inputs() -> Facts:
        digest = recipe_sha256(recipe_of(spec, weights_dir)).hex()
        return {"recipe": digest, "datasets": datasets(), "catalogue": bench.catalogue(*datasets())}

    def datasets() -> list[str]:
        there = {each.dataset for each in bench.rows("labelled_counts")}
        return [*bench.datasets, *({COVID} & there - set(bench.datasets))]

    def encode(progress: Progress) -> Facts:
        reports = [bench.db.encode(encoder, dataset=dataset, progress=progress) for dataset in datasets()]
        if any(report.interrupted for report in reports):
            raise KeyboardInterrupt
        name = reports[0].encoder
        return {
            "encoder": name,
            "vectors": bench.vectors(name),
            "images_per_second": _rate(reports),
            "failed": sum(report.failed for report in reports),
        }

    def holds(facts: Facts) -> bool:
        name = str(facts["encoder"])
        return bench.encoder(name) is not None and bench.vectors(name) == facts["vectors"]

    def estimate() -> float:
        return estimates.encoding(bench.to_encode(encoder))

    weights = Step("weights", weights_inputs, check, encoder, estimate=lambda: 3.0)
    return [weights, Step("encode", encode_inputs, encode, encoder, (*needs, weights.name), holds, estimate)]


def chosen_encoders(bench: Bench, names: tuple[str, ...]) -> dict[str, bool]:
    """The encoders to benchmark: those asked for, or all with vectors or weights; and whether they are to be encoded.

    An encoder of the registry, or a user's own, is encoded where its images' files are known. Raises `EncoderError` for
    a name that neither the registry nor the database has.
    """
    folder = bench.db.settings.encoders_dir
    stored = {each.name: each.imported for each in bench.rows("encoders_with_vectors", datasets=bench.datasets)}
    there = any(each.with_file for each in bench.rows("labelled_counts") if each.dataset in bench.datasets)
    found = [name for name in all_specs(folder) if there and bench.db.encoder(name)["found"]]
    wanted = list(names) or list(dict.fromkeys([*stored, *found]))
    if unknown := next((name for name in wanted if name not in stored and find_spec(name, folder) is None), None):
        raise EncoderError(
            f"no encoder {unknown!r}: the registry has none (`medcbir encoders list`), and no vectors of it are stored "
            f"for the images of {', '.join(bench.datasets)} (`medcbir vectors import`)"
        )
    return {name: name not in stored or (not stored[name] and name in found) for name in wanted}


def _rate(reports: list[EncodeReport]) -> float | None:
    """Images per second of what was encoded; None where all vectors were there."""
    encoded = sum(report.encoded for report in reports)
    return encoded / sum(report.seconds for report in reports if report.encoded) if encoded else None
