"""Encoders and their vectors: encode, import, export, coverage, retire, verify."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medcbir.api.session import Session, database_errors
from medcbir.config import Settings
from medcbir.encoders import (
    DEFAULT,
    EncoderSpec,
    all_specs,
    faster_precision,
    find_spec,
    get_spec,
    library_versions,
    load_encoder,
    of_precision,
    recipe_of,
    recipe_sha256,
)
from medcbir.encoders.describe import describe_spec
from medcbir.errors import InputError
from medcbir.store import schema
from medcbir.store.connection import open_bare, open_database
from medcbir.store.embedded import EmbeddedServer
from medcbir.store.encoders import StoredEncoder, add_encoder, add_versions, encoder_names, find_encoder
from medcbir.store.sqlfiles import query as read_query
from medcbir.types import EncodeReport, Filter, ImportReport, Progress, Split

if TYPE_CHECKING:
    from medcbir.encoders import Encoder
    from medcbir.encoders.verify import Verification
    from medcbir.store.retire import Retirement

Device = str
"""auto (the first of CUDA, Apple's MPS and the CPU), cpu, cuda, cuda:N (one of several GPUs), or mps."""


class Encoders(Session):
    """What is known of encoders, and what the database has of them."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._encoders: dict[tuple[bytes, str, bool], Encoder] = {}

    def encode(
        self,
        encoder: str = DEFAULT,
        *,
        dataset: str | None = None,
        device: Device = "auto",
        precision: 'Literal["auto", "float32", "bfloat16"] | None' = None,
        batch_size: int | None = None,
        compiled: bool = False,
        progress: Progress | None = None,
    ) -> EncodeReport:
        """Give every catalogued image that lacks one its vector of `encoder`; processes share the work.

        Vectors in bfloat16 are those of another encoder, called `NAME_bf16`: give that name, or the `precision`. With
        'auto' it is the one of which there are vectors already, or else the one that is faster here. The `batch_size`
        follows from the device and its memory where none is given. With `compiled` torch compiles the model first;
        where it cannot, or to other vectors, that is a `NotCompiledWarning`, and the model runs as it is.
        """
        from medcbir.ingest import encode

        if batch_size is not None and batch_size < 1:
            raise InputError(f"the batch size must be 1 or more, not {batch_size}")
        if dataset is not None:
            names = [name for (name,) in self.query("SELECT name FROM dataset ORDER BY name")]
            if dataset not in names:
                there = f"there are {', '.join(names)}" if names else "it is empty: `medcbir ingest` fills it"
                raise InputError(f"no dataset {dataset!r} in the catalogue: {there}")
        spec = self._in_precision(self._spec(encoder), precision, device)
        recipe = recipe_of(spec, self.settings.weights_dir)
        if spec.origin is not None:  # what its user says of it must hold before it gets a row
            self._model(spec, device, compiled=compiled)
        with self._open() as connection:
            stored = add_encoder(
                connection,
                spec.name,
                spec.dim,
                recipe,
                recipe_sha256(recipe),
                checkpoint_sha256=bytes.fromhex(recipe["checkpoint"]["sha256"]),
                versions=library_versions(),
            )

        def load_model() -> "Encoder":
            model = self._model(spec, device, compiled=compiled)
            if compiled:
                with self._open() as connection:
                    add_versions(connection, stored, model.versions)
            return model

        with database_errors(self.conninfo):
            report = encode.fill(
                lambda: open_database(self.conninfo, install="never"),
                stored,
                load_model,
                spec.pixels,
                dataset=dataset,
                batch_size=batch_size,
                max_pixels=self.settings.max_pixels,
                progress=progress,
            )
        return replace(report, version_of=None if stored.name == spec.name else spec.name)

    def _in_precision(self, spec: EncoderSpec, precision: str | None, device: str) -> EncoderSpec:
        if precision is None:
            return spec
        both = {each.precision: each for each in (of_precision(spec, "float32"), of_precision(spec, "bfloat16"))}
        if precision == "auto":
            with self._open() as connection:
                stored = encoder_names(connection)
            known = [each for each in both.values() if each.name in stored]
            return known[0] if len(known) == 1 else both[faster_precision(spec, device=device)]
        if precision not in both:
            raise InputError(f"the precision must be auto, float32 or bfloat16, not {precision!r}")
        return both[precision]

    def import_vectors(self, path: str | Path, *, encoder: str) -> ImportReport:
        """Store vectors made elsewhere (`uri` and `vector` as .npz, Parquet or HDF5) under an encoder of this name."""
        from medcbir.ingest.imported import import_vectors

        with self._open(may_install=True) as connection:
            return import_vectors(connection, Path(path), encoder)

    def export_vectors(
        self, path: str | Path, *, encoder: str = DEFAULT, dataset: str | None = None, split: Split | None = None
    ) -> int:
        """Write an encoder's vectors to a .npz, .parquet, .h5 or .hdf5 for `import_vectors`; return how many."""
        from medcbir.store.exported import export_vectors

        with self._open() as connection:
            where = Filter(dataset=dataset, split=split)
            return export_vectors(connection, find_encoder(connection, encoder), Path(path), where)

    def encoders(self) -> list[dict[str, Any]]:
        """Every encoder that can be used, as `encoder` describes one, and what else the database has vectors of.

        `images` counts the vectors of each. It is None where there is no database: none is made merely to look.
        """
        known = [self.encoder(name) for name in all_specs(self.settings.encoders_dir)]
        stored = self._stored_encoders()
        counted: list[dict[str, Any]] = [
            {**each, "images": None if stored is None else stored.pop(each["name"], {"images": 0})["images"]}
            for each in known
        ]
        return counted + [dict.fromkeys(counted[0]) | each for each in (stored or {}).values()]

    def _stored_encoders(self) -> dict[str, dict[str, Any]] | None:
        """What the database says of its encoders, by name; None where there is no database, or not this version's."""
        if self.settings.conninfo is None and not EmbeddedServer(self.settings.data_dir).status().initialised:
            return None
        with database_errors(self.conninfo), open_bare(self.conninfo) as connection:
            if schema.current_revision(connection) != schema.newest_revision():
                return None
            rows = connection.execute(read_query("encoded_images")).fetchall()
        return {
            name: {
                "name": name,
                "title": "imported vectors" if imported else "another recipe",
                "dim": dim,
                "images": images,
            }
            for name, dim, imported, images in rows
        }

    def encoder(self, name: str) -> dict[str, Any]:
        """An encoder's recipe as JSON values, with the `checkpoint` file expected, `weights_dir`, and `found`."""
        return describe_spec(self._spec(name), self.settings.weights_dir)

    def coverage(self, encoder: str | None = None) -> list[dict[str, Any]]:
        """Rows of view `encoder_coverage`: by encoder and dataset, how many images have a vector, and why not."""
        return self._rows("coverage", {"encoder": self._stored_name(encoder)})

    def encode_failures(self, encoder: str | None = None) -> list[dict[str, Any]]:
        """The images that could not be encoded, with the reason; the next `encode` tries them again."""
        return self._rows("encode_failures", {"encoder": self._stored_name(encoder)})

    def _stored_name(self, encoder: str | None) -> str | None:
        with self._open() as connection:
            return None if encoder is None else find_encoder(connection, encoder).name

    def seen(self, encoder: str) -> tuple[str, ...] | None:
        """Which of the benchmark's datasets the encoder of a run was trained on; None where that is not known."""
        with self._open() as connection:
            stored = find_encoder(connection, encoder, retired=True)
        spec = self._spec_of_stored(stored)
        return None if spec is None or stored.imported else spec.seen

    def retirement(self, encoder: str) -> "Retirement":
        """What `retire` would drop, and which encoder takes its place; nothing changes."""
        from medcbir.store.retire import plan_retirement

        with self._open() as connection:
            return plan_retirement(connection, encoder)

    def retire(self, encoder: str) -> "Retirement":
        """Drop an encoder's vectors at once; those of its newest recipe get the name, if they are complete."""
        from medcbir.store.retire import retire

        with self._open() as connection:
            return retire(connection, encoder)

    def verify_encoders(
        self, names: Sequence[str] = (), *, allow_download: bool = False, progress: Progress | None = None
    ) -> "list[Verification]":
        """Check the weights of these encoders, or of all: file, digest, strict load, and vectors of a real slice.

        With `allow_download` those missing are fetched from their public source first.
        """
        from medcbir.encoders.verify import verify

        specs = [self._spec(name) for name in names] or list(all_specs(self.settings.encoders_dir).values())
        return [
            verify(spec, self.settings.weights_dir, allow_download=allow_download, progress=progress) for spec in specs
        ]

    def _spec(self, name: str) -> EncoderSpec:
        return get_spec(name, self.settings.encoders_dir)

    def _spec_of_stored(self, stored: StoredEncoder) -> EncoderSpec | None:
        """The spec of that name, or of that name with another recipe."""
        unversioned = stored.name.removesuffix(f"_{stored.recipe_sha256.hex()[:8]}")
        folder = self.settings.encoders_dir
        return find_spec(stored.name, folder) or find_spec(unversioned, folder)

    def _model(self, spec: EncoderSpec, device: str, *, compiled: bool = False) -> "Encoder":
        key = (self._recipe_sha256(spec), device, compiled)
        if key not in self._encoders:
            self._encoders[key] = load_encoder(spec, weights_dir=self.settings.weights_dir, device=device)
            if compiled:
                self._encoders[key].compile()
        return self._encoders[key]

    def _recipe_sha256(self, spec: EncoderSpec) -> bytes:
        """What tells loaded models apart: a checkpoint may have been exchanged since one was loaded."""
        return recipe_sha256(recipe_of(spec, self.settings.weights_dir))
