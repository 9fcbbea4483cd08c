"""The Python interface: `connect()` and the Database object, one method per use case, each a call into one room.

    import medcbir

    with medcbir.connect() as db:
        db.ingest("/data/radimagenet")
        for hit in db.search(image="query.png", n=10):
            print(hit.rank, hit.similarity, hit.uri)

The commands of the shell call these methods and nothing else.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import psycopg
from psycopg.rows import dict_row

from medcbir.config import Settings, load_settings
from medcbir.encoders import (
    DEFAULT,
    EncoderSpec,
    all_specs,
    faster_precision,
    find_checkpoint,
    find_spec,
    get_spec,
    library_versions,
    load_encoder,
    load_text_encoder,
    of_precision,
    prepare,
    recipe_of,
    recipe_sha256,
)
from medcbir.encoders.describe import describe_spec
from medcbir.errors import DatabaseError, EncoderError, InputError, MedcbirError, VectorError
from medcbir.retrieval.warmth import Warmth
from medcbir.store import schema
from medcbir.store.connection import Connection, describe, open_bare, open_database, resolve, without_password
from medcbir.store.embedded import EmbeddedServer
from medcbir.store.encoders import StoredEncoder, add_encoder, encoder_names, encoder_of_recipe, find_encoder
from medcbir.store.sqlfiles import query as read_query
from medcbir.types import (
    Classification,
    ClassificationMetric,
    Coverage,
    Duplicate,
    EncodeReport,
    Filter,
    Hit,
    ImageRecord,
    ImportReport,
    IngestReport,
    Metric,
    Progress,
    Rejection,
    Run,
    Split,
    Survey,
    UInt8Image,
    UnfinishedRun,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from medcbir.encoders import Encoder, TextEncoder
    from medcbir.encoders.verify import Verification
    from medcbir.evaluation.ablation import Ablation
    from medcbir.evaluation.compare import Comparison
    from medcbir.evaluation.knn import Weights
    from medcbir.evaluation.layout import Method
    from medcbir.evaluation.metrics import Facet
    from medcbir.evaluation.projection import Projection
    from medcbir.retrieval.hnsw import Recall
    from medcbir.sources import InstanceStore, Options
    from medcbir.store.retire import Retirement

Device = str
"""auto (the first of CUDA, Apple's MPS and the CPU), cpu, cuda, cuda:N (one of several GPUs), or mps."""


def connect(url: str | None = None, data_dir: str | Path | None = None) -> "Database":
    """Open the database: of `url`, else of `DATABASE_URL` or libpq's variables, else the embedded one in `data_dir`.

    Raises `DatabaseError` where it cannot be reached, in one line that names the next step.
    """
    return Database(load_settings(database_url=url, data_dir=data_dir))


class Database:
    """An open medcbir database. Use it as a context manager, or call `close()`; one thread at a time.

    Every method raises a `MedcbirError` for what its caller can mend; the message says how.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._encoders: dict[tuple[str, str], Encoder] = {}
        self._text_encoders: dict[tuple[str, str], TextEncoder] = {}
        self._connection: Connection | None = None
        self._warmth = Warmth(self._another, settings.data_dir / "cache")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; an embedded server goes on running (`medcbir db stop` ends it)."""
        self._warmth.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @cached_property
    def conninfo(self) -> str:
        """libpq connection string; asking for it starts the embedded server where that serves."""
        return resolve(self.settings)

    @property
    def public_url(self) -> str:
        """The connection string without a password, to be shown or logged."""
        return without_password(self.conninfo)

    def ingest(
        self,
        path: str | Path,
        *,
        dataset: str = "auto",
        name: str | None = None,
        label_from: str | None = None,
        split: Split | None = None,
        root: str | Path | None = None,
        limit: int | None = None,
        metadata_only: bool = False,
        modality: str | None = None,
        since: date | None = None,
        encoder: str | Sequence[str] = DEFAULT,
        encode: bool = True,
        device: Device = "auto",
        progress: Progress | None = None,
    ) -> IngestReport:
        """Catalogue the images at `path` (a folder, a file or a manifest, recognised by its content) and encode them.

        Or those of a PACS, where `path` is the URL of its DICOMweb service; `modality` and `since`, the earliest date
        of a study, choose among them. The same path again changes nothing; what cannot be read is kept in table
        `rejected` with its reason. With `metadata_only` no file is opened, and nothing is encoded. See
        `docs/commands.md` for the other arguments.
        """
        from medcbir.sources import find_source, parse_place

        place = parse_place(path)
        source = find_source(place, dataset)
        specs = self._specs(encoder if encode and not metadata_only else ())
        options = self._options(name, label_from, split, root, metadata_only, modality, since)
        manifest = place.name if isinstance(place, Path) and limit is None else None
        report = self._fill(islice(source.read(place, options), limit), specs, device, manifest, progress)
        ((duplicates, leaks),) = self.query(read_query("count_duplicates"))
        return replace(report, duplicates=duplicates, leaks=leaks)

    def watch(
        self,
        path: str | Path,
        *,
        every: float = 60.0,
        dataset: str = "auto",
        name: str | None = None,
        split: Split | None = None,
        modality: str | None = None,
        since: date | None = None,
        encoder: str | Sequence[str] = DEFAULT,
        encode: bool = True,
        device: Device = "auto",
        progress: Progress | None = None,
    ) -> "Generator[IngestReport | MedcbirError, None, None]":
        """Ingest what is new at a PACS's URL or a path, again after `every` so many seconds, for as long as asked.

        Yields what each look brought, or the error that it met: a server that is away is waited for.
        """
        from medcbir.ingest.watch import watch
        from medcbir.sources import find_source, parse_place

        place = parse_place(path)
        specs = self._specs(encoder if encode else ())
        options = self._options(name, None, split, None, False, modality, since)

        def look() -> IngestReport:
            try:
                return self._fill(find_source(place, dataset).read(place, options), specs, device, None, progress)
            except MedcbirError:
                if options.pacs is not None:
                    options.pacs.looked_at.clear()
                raise

        return watch(look, every)

    def receive(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 11112,
        aet: str = "MEDCBIR",
        allow: Sequence[str] = (),
        max_associations: int = 10,
        name: str = "received",
        encoder: str | Sequence[str] = DEFAULT,
        encode: bool = True,
        device: Device = "auto",
        on_listening: "Callable[[int], None] | None" = None,
        progress: Progress | None = None,
    ) -> "Generator[IngestReport | MedcbirError, None, None]":
        """Ingest what DICOM peers push by C-STORE, into the dataset `name`, for as long as asked.

        Yields what each batch became, or the error that made it wait. Calling AE titles other than those in `allow`
        are refused, none where it is empty. `on_listening` is told the port, which 0 leaves to the system.
        """
        from medcbir.ingest.receive import Listener, receive

        specs = self._specs(encoder if encode else ())
        self.start()
        return receive(
            self._instances,
            Listener(host, port, aet, tuple(allow), max_associations),
            lambda records: self._fill(records, specs, device, None, progress),
            name,
            on_listening,
        )

    def _specs(self, encoder: str | Sequence[str]) -> list[EncoderSpec]:
        """The encoders asked for; missing weights are told now, not after the catalogue."""
        specs = [self._spec(each) for each in ([encoder] if isinstance(encoder, str) else encoder)]
        for spec in specs:
            find_checkpoint(spec, self.settings.weights_dir)
        return specs

    @cached_property
    def _instances(self) -> "InstanceStore":
        from medcbir.sources import InstanceStore

        return InstanceStore(
            self.settings.data_dir / "pacs",
            max_bytes=self.settings.pacs_max_bytes,
            max_instance_bytes=self.settings.instance_max_bytes,
        )

    def _options(
        self,
        name: str | None,
        label_from: str | None,
        split: Split | None,
        root: str | Path | None,
        metadata_only: bool,
        modality: str | None,
        since: date | None,
    ) -> "Options":
        from medcbir.sources import Options, Pacs

        pacs = Pacs(self._instances, modality, since, self.settings.dicomweb_authorization, self.settings.pacs_patience)
        return Options(name, label_from, split, None if root is None else Path(root), metadata_only, pacs)

    def _fill(
        self,
        records: Iterable[ImageRecord | Rejection],
        specs: Sequence[EncoderSpec],
        device: Device,
        manifest: str | None,
        progress: Progress | None,
    ) -> IngestReport:
        """Catalogue `records`, then encode what is missing."""
        from medcbir.ingest import catalogue

        with self._open(may_install=True) as connection:
            report = catalogue.fill(
                connection,
                records,
                hash_key=self.settings.patient_hash_key,
                max_pixels=self.settings.max_pixels,
                manifest=manifest,
                progress=progress,
            )
        encoded: list[EncodeReport] = []
        for spec in specs:
            if report.interrupted or (encoded and encoded[-1].interrupted):
                break
            encoded.append(self.encode(spec.name, device=device, progress=progress))
        return replace(report, encoded=tuple(encoded))

    def survey(
        self,
        path: str | Path,
        *,
        dataset: str = "auto",
        name: str | None = None,
        label_from: str | None = None,
        split: Split | None = None,
        root: str | Path | None = None,
        limit: int | None = None,
        metadata_only: bool = False,
        modality: str | None = None,
        since: date | None = None,
        progress: Progress | None = None,
    ) -> Survey:
        """Count what `ingest` would catalogue at `path`, beside the numbers of Denner et al. 2024.

        No image is opened or fetched, and no database is needed.
        """
        from medcbir.ingest.survey import survey
        from medcbir.sources import find_source, parse_place

        place = parse_place(path)
        source = find_source(place, dataset)
        nothing_fetched = metadata_only or not isinstance(place, Path)
        options = self._options(name, label_from, split, root, nothing_fetched, modality, since)
        return survey(islice(source.read(place, options), limit), source.name, progress)

    def encode(
        self,
        encoder: str = DEFAULT,
        *,
        dataset: str | None = None,
        device: Device = "auto",
        precision: 'Literal["auto", "float32", "bfloat16"] | None' = None,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> EncodeReport:
        """Give every catalogued image that lacks one its vector of `encoder`; processes share the work.

        Vectors in bfloat16 are those of another encoder, called `NAME_bf16`: give that name, or the `precision`. With
        'auto' it is the one of which there are vectors already, or else the one that is faster here. The `batch_size`
        follows from the device and its memory where none is given.
        """
        from medcbir.ingest import encode

        if batch_size is not None and batch_size < 1:
            raise InputError(f"the batch size must be 1 or more, not {batch_size}")
        spec = self._in_precision(self._spec(encoder), precision, device)
        recipe = recipe_of(spec, self.settings.weights_dir)
        if spec.origin is not None:  # what its user says of it must hold before it gets a row
            self._model(spec, device)
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
        with database_errors(self.conninfo):
            report = encode.fill(
                lambda: open_database(self.conninfo, install="never"),
                stored,
                lambda: self._model(spec, device),
                spec.pixels,
                dataset=dataset,
                batch_size=batch_size,
                max_pixels=self.settings.max_pixels,
                progress=progress,
            )
        return replace(report, version_of=None if stored.name == spec.name else spec.name)

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

    def export_run(self, run: Run | str | None, path: str | Path) -> list[Path]:
        """Write a run's hits (the newest's for None) as .parquet, .csv (the published knn.csv) or .trec with .qrels."""
        from medcbir.report.run_files import export_run

        run = run if isinstance(run, Run) else self.run(run)
        with self._open() as connection:
            return export_run(connection, run, Path(path))

    def search(
        self,
        *,
        image: "str | Path | UInt8Image | Sequence[str | Path | UInt8Image] | None" = None,
        image_id: int | None = None,
        vector: "npt.NDArray[Any] | None" = None,
        text: str | Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
        encoder: str = DEFAULT,
        n: int = 10,
        where: Filter | None = None,
        exclude_same_patient: bool = False,
        exclude_same_study: bool = False,
        exclude_duplicates: bool = False,
        device: Device = "auto",
    ) -> list[Hit]:
        """The `n` catalogued images nearest to pictures, words, a catalogued image, or a vector, by exact distance.

        Give `image` (files, or pixels (H, W) or (H, W, 3) uint8) or `text` or both, or one of `image_id` and `vector`
        (dim,), which need not be normalised. Words need an encoder with a text tower. Several images and texts make one
        query, the normalised sum of their unit vectors, each times its weight: `weights` has one for each image, then
        one for each text (1 without it). `exclude_same_patient` and `exclude_same_study` need `image_id`: a loose
        picture's are not known. `exclude_duplicates` leaves out images whose decoded pixels equal the query's, and
        needs one image. Only images that have a vector of the encoder are found: `searchable` tells how many lack one.
        """
        import numpy as np

        from medcbir.pixels import pixel_sha256
        from medcbir.retrieval import search
        from medcbir.store.vectors import unit

        described = image is not None or text is not None
        if described + (image_id is not None) + (vector is not None) != 1:
            raise InputError(
                "a search needs one of image files or texts (which may go together), an image id, and a vector"
            )
        if weights is not None and not described:
            raise InputError("weights belong to images and texts: give --image or --text as often as there are weights")
        if (exclude_same_patient or exclude_same_study) and image_id is None:
            raise InputError("to exclude the query's patient or study, search by image id: a file's is not known")
        if exclude_duplicates and vector is not None:
            raise InputError("to exclude the query's duplicates, search by image or image id: a vector has no pixels")
        where = where or Filter()
        if where.datasets is not None:
            raise InputError("a search goes over one dataset or all: give one, or none")
        with self._open() as connection:
            if image_id is not None:
                return search.near_image(
                    connection,
                    find_encoder(connection, encoder),
                    image_id,
                    n,
                    where,
                    exclude_same_patient=exclude_same_patient,
                    exclude_same_study=exclude_same_study,
                    warmth=self._warmth,
                    exclude_duplicates=exclude_duplicates,
                )
            if vector is not None:
                stored = find_encoder(connection, encoder)
                if np.ndim(vector) != 1:
                    raise VectorError(f"the query must be one vector of shape (dim,), found {np.shape(vector)}")
                wanted = unit(np.asarray(vector)[None])[0]
                return search.near_vector(connection, stored, wanted, n, where, warmth=self._warmth)
            spec, stored = self._encoder_of_stored(connection, encoder)
            images, texts = _several(image), _several(text)
            if not (images or texts):
                raise InputError("a search needs an image or a text: the list of them is empty")
            if exclude_duplicates and (texts or len(images) > 1):
                raise InputError(
                    "to exclude the query's duplicates, give one image alone: several parts have no pixels"
                )
            pixels = [each if isinstance(each, np.ndarray) else self.read_image(each) for each in images]
            seen = [prepare(each, spec.pixels) for each in pixels]
            towers = [self._text_model(spec, device).encode(texts)] if texts else []
            if seen:
                towers.insert(0, self._model(spec, device).encode(np.stack(seen)))
            whole = search.combine(np.concatenate(towers), weights)
            own = pixel_sha256(pixels[0]) if exclude_duplicates else None
            return search.near_vector(connection, stored, whole, n, where, exclude_pixels=own, warmth=self._warmth)

    def searchable(self, encoder: str = DEFAULT, where: Filter | None = None) -> Coverage:
        """How many images pass `where`, and how many of them have a vector of the encoder and can be found."""
        from medcbir.retrieval.image_sets import coverage

        with self._open() as connection:
            return coverage(connection, find_encoder(connection, encoder), where or Filter())

    def warm(self, encoder: str = DEFAULT) -> None:
        """Load an encoder's vectors into memory, so that its searches need not read them from the database.

        The answers are the same, and stay current. An encoder that is searched again and again is loaded anyway, beside
        the searches.
        """
        with self._open() as connection:
            self._warmth.warm(find_encoder(connection, encoder))

    def read_image(self, path: str | Path, frame: int = 0) -> UInt8Image:
        """One frame of an image file as it is displayed: (H, W) or (H, W, 3) uint8."""
        from medcbir.errors import MedcbirError
        from medcbir.pixels import open_image

        file = Path(path)
        if not file.is_file():
            raise InputError(f"no such file: {file}")
        try:
            return open_image(file, max_pixels=self.settings.max_pixels).frame(frame)
        except MedcbirError as error:
            raise InputError(f"cannot read {file}: {error}") from None

    def retrieve(
        self,
        *,
        encoder: str = DEFAULT,
        n: int = 10,
        queries: "Split | Filter | None" = "test",
        index: "Split | Filter | None" = "train",
        exclude_same_patient: bool = True,
        exclude_same_study: bool = False,
        exclude_duplicates: bool = False,
        engine: str = "auto",
        name: str | None = None,
        progress: Progress | None = None,
    ) -> Run:
        """Retrieve the `n` nearest index images of every query and store them as a run, for `evaluate` and SQL.

        `queries` and `index` are splits, filters, or None for all images. A query never retrieves itself, nor, by
        default, another image of its patient, nor, if asked, one of its study, or one whose decoded pixels equal its
        own; images with several labels take no part (Denner et al. 2024). `engine` is pgvector (a statement per
        query), blocked (matrix products; the same hits) or auto, by the size of the work.

        Processes that call this at once with one `name` share the work. A run that was interrupted is gone on with by
        the same call, or begun again if images or vectors have changed; until it is finished, nothing shows it.
        """
        from medcbir.retrieval import run
        from medcbir.retrieval.image_sets import Exclusions

        with self._open() as connection:
            return run.retrieve(
                connection,
                self._another,
                find_encoder(connection, encoder),
                n=n,
                queries=_as_filter(queries),
                index=_as_filter(index),
                exclusions=Exclusions(exclude_same_patient, exclude_same_study, exclude_duplicates),
                engine=engine,
                name=name,
                cache_dir=self.settings.data_dir / "cache",
                progress=progress,
            )

    def run(self, name: str | None = None) -> Run:
        """The run of this name, the newest without one."""
        from medcbir.retrieval.run import find_run

        with self._open() as connection:
            return find_run(connection, name)

    def runs(self) -> list[Run]:
        """All finished runs, the newest first."""
        from medcbir.retrieval.run import all_runs

        with self._open() as connection:
            return all_runs(connection)

    def unfinished_runs(self) -> list[UnfinishedRun]:
        """Runs that are being computed, were interrupted, or failed, the newest first."""
        from medcbir.retrieval.sharing import unfinished_runs

        with self._open() as connection:
            return unfinished_runs(connection)

    def drop_run(self, name: str) -> None:
        """Remove a run with its hits, finished or not; an unfinished one without a name is meant by its number."""
        from medcbir.retrieval.run import drop_run

        with self._open() as connection:
            drop_run(connection, name)

    def build_index(self, encoder: str = DEFAULT, *, m: int = 16, ef_construction: int = 64) -> float:
        """Make the encoder's approximate index, for SQL function `approximate_top_n` alone; the seconds it took."""
        from medcbir.retrieval import hnsw

        with self._open() as connection:
            return hnsw.build(connection, find_encoder(connection, encoder), m=m, ef_construction=ef_construction)

    def drop_index(self, encoder: str = DEFAULT) -> None:
        """Remove the encoder's approximate index."""
        from medcbir.retrieval import hnsw

        with self._open() as connection:
            hnsw.drop(connection, find_encoder(connection, encoder))

    def index_recall(
        self, encoder: str = DEFAULT, *, n: int = 10, queries: int = 100, ef_search: int = 100
    ) -> "Recall":
        """How much of the exact answer the approximate index finds, over stored images as queries."""
        from medcbir.retrieval import hnsw

        with self._open() as connection:
            stored = find_encoder(connection, encoder)
            return hnsw.recall(connection, stored, n=n, queries=queries, ef_search=ef_search)

    def filters(self) -> dict[str, str]:
        """The named filters (`Filter(named=...)`) with their SQL predicates."""
        return dict(self.query("SELECT name, predicate FROM named_filter ORDER BY name"))

    def add_filter(self, name: str, predicate: str) -> None:
        """Define a named filter by an SQL expression on the columns of `image`; for an administrator of the schema."""
        with self._open() as connection, filter_errors():
            connection.execute("SELECT add_filter(%s, %s)", (name, predicate))

    def drop_filter(self, name: str) -> None:
        """Remove a named filter."""
        with self._open() as connection, filter_errors():
            connection.execute("SELECT drop_filter(%s)", (name,))

    def evaluate(
        self,
        run: Run | str | None = None,
        *,
        n: Sequence[int] | None = None,
        by: "Facet | Sequence[Facet] | None" = None,
        metric: str | Sequence[str] = "precision",
        possible_only: bool = False,
        intervals: bool = True,
    ) -> list[Metric]:
        """Metrics of a run (the newest without one), micro and macro; per group of one facet, or of two, with `by`.

        P@N by both definitions, unless `metric` names others or 'all' (see docs/evaluation.md). With `possible_only`
        queries without a relevant image that they may retrieve take no part; without `intervals` there are no 95 %
        intervals, which take most of the time on a large run. `medcbir.frame` makes a data frame of it.
        """
        from medcbir.evaluation.metrics import evaluate

        run = run if isinstance(run, Run) else self.run(run)
        with self._open() as connection:
            return evaluate(
                connection, run, n=n, by=by, metric=metric, possible_only=possible_only, intervals=intervals
            )

    def compare(self, runs: "Sequence[Run | str]", *, n: Sequence[int] | None = None) -> "Comparison":
        """How P@N of every pair of runs differs on their common queries, with intervals, p, and p after Holm."""
        from medcbir.evaluation.compare import compare
        from medcbir.evaluation.metrics import wanted_n

        found = [run if isinstance(run, Run) else self.run(run) for run in runs]
        if not found:
            raise InputError("give two or more runs to compare")
        with self._open() as connection:
            return compare(connection, found, wanted_n(found, n))

    def leakage(self, run: Run | str, *, n: Sequence[int] | None = None, within: float = 0.01) -> "Comparison":
        """P@N of a run less itself without hits of the query's patient, without duplicates of it, and without both.

        A near duplicate lies within this cosine distance.
        """
        from medcbir.evaluation.compare import leakage
        from medcbir.evaluation.metrics import wanted_n

        run = run if isinstance(run, Run) else self.run(run)
        with self._open() as connection:
            return leakage(connection, run, wanted_n([run], n), within)

    def ablate_index_size(
        self,
        *,
        encoder: str = DEFAULT,
        sizes: Sequence[int] = (5, 10, 25, 50, 100, 250, 500, 1000, 2000, 3000),
        larger_than: int | None = None,
        queries_per_class: int | None = None,
        n: Sequence[int] = (1,),
        seeds: int = 5,
        seed: int = 0,
        queries: "Split | Filter | None" = "test",
        index: "Split | Filter | None" = "train",
        exclude_same_patient: bool = True,
        progress: Progress | None = None,
    ) -> "Ablation":
        """P@N against the number of index images per class (Denner et al. 2024, figure 3 B), stored and returned.

        Classes with more than `larger_than` index images (by default the largest of `sizes`) take part, each with
        equally many queries; the index is drawn by `seeds` seeds from `seed` on.
        """
        from medcbir.evaluation.ablation import index_size

        with self._open() as connection:
            return index_size(
                connection,
                find_encoder(connection, encoder),
                sizes=sizes,
                larger_than=larger_than,
                queries_per_class=queries_per_class,
                n=n,
                seeds=seeds,
                seed=seed,
                queries=_as_filter(queries),
                index=_as_filter(index),
                exclude_same_patient=exclude_same_patient,
                cache_dir=self.settings.data_dir / "cache",
                progress=progress,
            )

    def map(
        self,
        *,
        encoder: str = DEFAULT,
        method: "Method" = "tsne",
        where: "Split | Filter | None" = None,
        limit: int | None = None,
        seed: int = 0,
        perplexity: float | None = None,
        name: str | None = None,
        progress: Progress | None = None,
    ) -> "Projection":
        """Lay images out in two dimensions by their vectors (Denner et al. 2024, figure 5), stored and returned.

        `method` is tsne or pacmap; `limit` draws a sample by `seed`. The points are in view `projection_image`.
        """
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as for encoding: spinning threads starve a busy machine
        from medcbir.evaluation.projection import project

        with self._open() as connection:
            return project(
                connection,
                find_encoder(connection, encoder),
                method=method,
                where=_as_filter(where),
                limit=limit,
                seed=seed,
                perplexity=perplexity,
                name=name,
                cache_dir=self.settings.data_dir / "cache",
                progress=progress,
            )

    def seen(self, encoder: str) -> tuple[str, ...] | None:
        """Which of the benchmark's datasets the encoder of a run was trained on; None where that is not known."""
        with self._open() as connection:
            stored = find_encoder(connection, encoder, retired=True)
        spec = self._spec_of_stored(stored)
        return None if spec is None or stored.imported else spec.seen

    def classify_knn(
        self,
        *,
        encoder: str = DEFAULT,
        k: int | None = None,
        max_k: int = 100,
        weights: "Weights" = "uniform",
        datasets: Sequence[str] | None = None,
        exclude_same_patient: bool = True,
        engine: str = "auto",
        name: str | None = None,
        progress: Progress | None = None,
    ) -> Classification:
        """Classify the test images by the vote of their `k` nearest training images (Denner et al. 2024, Table 4).

        Without `k`, the one of 1 to `max_k` with the highest micro AUPRC on the validation images. A hit votes once, or
        with its cosine similarity. Runs that fit are used again, missing ones retrieved, and called `name-val` and
        `name-test` where a name is given. Numbers: `evaluate_classes`.
        """
        from medcbir.evaluation import knn

        among = list(datasets) if datasets else None

        def retrieved(queries: Split, n: int) -> Run:
            with self._open() as connection:
                found = knn.fitting_run(
                    connection,
                    find_encoder(connection, encoder),
                    queries,
                    n,
                    datasets=among,
                    exclude_same_patient=exclude_same_patient,
                )
            if found is not None:
                return self.run(found)
            return self.retrieve(
                encoder=encoder,
                n=n,
                queries=Filter(datasets=among, split=queries),
                index=Filter(datasets=among, split="train"),
                name=None if name is None else f"{name}-{queries}",
                exclude_same_patient=exclude_same_patient,
                engine=engine,
                progress=progress,
            )

        with self._open() as connection:
            stored = find_encoder(connection, encoder)
            return knn.classify(connection, stored, retrieved, k=k, max_k=max_k, weights=weights, progress=progress)

    def classify_linear(
        self,
        *,
        encoder: str = DEFAULT,
        epochs: int = 100,
        patience: int = 20,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        batch_size: int = 256,
        balanced: bool = False,
        seed: int = 0,
        datasets: Sequence[str] | None = None,
        device: Device = "auto",
        progress: Progress | None = None,
    ) -> Classification:
        """Classify the test images by one linear layer trained on the training images' vectors (Table 6).

        AdamW on cross-entropy; training ends `patience` epochs after the lowest validation loss, whose layer is taken.
        With patience 0 all epochs are run and no validation images are needed. Numbers: `evaluate_classes`.
        """
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as for encoding: spinning threads starve a busy machine
        from medcbir.evaluation import linear

        training = linear.Training(epochs, patience, lr, weight_decay, batch_size, balanced, seed)
        with self._open() as connection:
            return linear.classify(
                connection,
                find_encoder(connection, encoder),
                training,
                datasets=list(datasets) if datasets else None,
                device=device,
                cache_dir=self.settings.data_dir / "cache",
                progress=progress,
            )

    def evaluate_classes(
        self, classification: Classification | int, *, by_class: bool = False
    ) -> list[ClassificationMetric]:
        """F1 and AUPRC of a classification, micro and macro; precision, recall and both of each class `by_class`."""
        from medcbir.evaluation.classification import metrics
        from medcbir.store.classifications import find_classification

        with self._open() as connection:
            if isinstance(classification, int):
                classification = find_classification(connection, classification)
            return metrics(connection, classification, by_class=by_class)

    def duplicates(self) -> list[Duplicate]:
        """Images whose decoded pixels equal another's (view `duplicate_image`), leaks between splits first."""
        return self._duplicates("duplicates", {})

    def near_duplicates(self, run: Run | str, *, within: float = 0.01) -> list[Duplicate]:
        """Query and hit pairs of a run with other pixels and at most this cosine distance, the nearest first."""
        run = run if isinstance(run, Run) else self.run(run)
        return self._duplicates("near_duplicates", {"run_id": run.run_id, "within": within})

    def _duplicates(self, name: str, arguments: dict[str, Any]) -> list[Duplicate]:
        return [Duplicate(**{"distance": None, **row}) for row in self._rows(name, arguments)]

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

    def _rows(self, name: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        with self._open() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(read_query(name), arguments).fetchall()

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

    def save_grid(
        self,
        file: str | Path,
        hits: Sequence[Hit],
        *,
        image: "str | Path | UInt8Image | None" = None,
        image_id: int | None = None,
    ) -> None:
        """Draw the query (framed orange) and its hits as a PNG."""
        from medcbir.report.grid import save_grid

        with self._open() as connection:
            save_grid(connection, Path(file), hits, image=image, image_id=image_id, read=self.read_image)

    def report(
        self, runs: "Sequence[Run | str]" = (), *, out: str | Path, progress: Progress | None = None
    ) -> list[Path]:
        """Write a report on these runs, or on the newest of each encoder, into the folder `out`; return its files.

        With what else there is of their encoders: classifications, ablation, map. See `medcbir.report.write_benchmark`.
        """
        from medcbir.report.stored import write_stored

        found = [run if isinstance(run, Run) else self.run(run) for run in runs]
        with self._open() as connection:
            return write_stored(connection, Path(out), found, read=self.read_image, progress=progress)

    def start(self) -> None:
        """Start the embedded server, and install or upgrade its schema; an external one is only checked."""
        with self._open():
            pass

    def stop(self) -> bool:
        """Stop the embedded server; False if it was not running. `DatabaseError` for an external one."""
        self._require_embedded("stopped")
        self.close()
        return EmbeddedServer(self.settings.data_dir).stop()

    def upgrade(self, revision: str = "head") -> tuple[str | None, str | None]:
        """Install schema `medcbir`, bring it up to date, or take it to a revision ('base' drops all of it).

        Returns the revisions before and after.
        """
        self.close()
        with database_errors(self.conninfo), open_bare(self.conninfo) as connection:
            before = schema.current_revision(connection)
            if revision != "head" and before is not None and (revision == "base" or revision < before):
                schema.downgrade(self.conninfo, revision)
            else:
                schema.upgrade(self.conninfo, revision)
            return before, schema.current_revision(connection)

    def status(self) -> dict[str, Any]:
        """Which database is in use, whether it runs, its versions and what it holds; starts and changes nothing."""
        external = self.settings.conninfo
        found: dict[str, Any] = {"database": "embedded" if external is None else describe(external)}
        conninfo = external
        if external is None:
            server = EmbeddedServer(self.settings.data_dir).status()
            found |= {"data_dir": str(self.settings.data_dir), "running": server.running, "pid": server.pid}
            conninfo = server.conninfo if server.running else None
        if conninfo is None:
            return found
        with database_errors(conninfo), open_bare(conninfo) as connection:
            found |= {
                "running": True,
                "postgresql": connection.info.parameter_status("server_version"),
                "pgvector": schema.pgvector_version(connection),
                "revision": schema.current_revision(connection),
                "revision_wanted": schema.newest_revision(),
            }
            if found["revision"] == found["revision_wanted"]:
                row = connection.execute(read_query("catalogue_size")).fetchone()
                found |= dict(zip(("images", "encoders", "runs", "rejected"), row or (), strict=True))
        return found

    def _require_embedded(self, what: str) -> None:
        if self.settings.conninfo is not None:
            raise DatabaseError(
                f"{describe(self.settings.conninfo)} is not medcbir's own server: it is not {what} here"
            )

    def query(self, sql: str, arguments: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Rows of the caller's statement; names resolve in schema `medcbir`, values are bound (`%(name)s`)."""
        with self._open() as connection:
            return connection.execute(sql, arguments).fetchall()

    def _spec(self, name: str) -> EncoderSpec:
        return get_spec(name, self.settings.encoders_dir)

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

    def _spec_of_stored(self, stored: StoredEncoder) -> EncoderSpec | None:
        """The spec of that name, or of that name with another recipe."""
        unversioned = stored.name.removesuffix(f"_{stored.recipe_sha256.hex()[:8]}")
        folder = self.settings.encoders_dir
        return find_spec(stored.name, folder) or find_spec(unversioned, folder)

    def _model(self, spec: EncoderSpec, device: str) -> "Encoder":
        key = (spec.name, device)
        if key not in self._encoders:
            self._encoders[key] = load_encoder(spec, weights_dir=self.settings.weights_dir, device=device)
        return self._encoders[key]

    def _text_model(self, spec: EncoderSpec, device: str) -> "TextEncoder":
        key = (spec.name, device)
        if key not in self._text_encoders:
            self._text_encoders[key] = load_text_encoder(spec, weights_dir=self.settings.weights_dir, device=device)
        return self._text_encoders[key]

    def _encoder_of_stored(self, connection: Connection, name: str) -> tuple[EncoderSpec, StoredEncoder]:
        """The spec that made the vectors stored under `name`; refused where its recipe is another by now."""
        stored = find_encoder(connection, name)
        if stored.imported:
            raise EncoderError(
                f"the vectors of {name} were imported, so a new image cannot be encoded alike: search by image id "
                "(--id) or by vector"
            )
        spec = self._spec_of_stored(stored)
        if spec is None:
            raise EncoderError(
                f"this medcbir knows no encoder {name}, so a new image cannot be encoded; search by --id"
            )
        at_hand = recipe_sha256(recipe_of(spec, self.settings.weights_dir))
        if at_hand != stored.recipe_sha256:
            newer = encoder_of_recipe(connection, at_hand)
            step = (
                f"encode again with `medcbir encode --encoder {spec.name}`"
                if newer is None
                else f"its vectors are those of {newer.name}, which `medcbir encoders retire {name}` gives the name"
            )
            raise EncoderError(
                f"the vectors of {name} were made by another recipe (checkpoint, preprocessing) than the one at hand: "
                f"search by --id, or {step}"
            )
        return spec, stored

    def _another(self) -> Connection:
        """One more connection, for what goes on beside."""
        return open_database(self.conninfo, install="never")

    @contextmanager
    def _open(self, *, may_install: bool = False) -> Iterator[Connection]:
        """The connection, opened on first use; a server that goes away is told as a `DatabaseError`."""
        if self._connection is None or self._connection.closed:
            embedded = self.settings.conninfo is None
            install: Literal["always", "if_absent", "never"] = (
                "always" if embedded else "if_absent" if may_install else "never"
            )
            with database_errors(self.conninfo):
                self._connection = open_database(self.conninfo, install=install)
        with database_errors(self.conninfo):
            yield self._connection


def _several(given: Any) -> list[Any]:
    """The images or texts given: none, one (a string, a path or an array), or several."""
    if given is None:
        return []
    return [given] if isinstance(given, str | Path) or hasattr(given, "shape") else list(given)


def _as_filter(chosen: "Split | Filter | None") -> Filter:
    return chosen if isinstance(chosen, Filter) else Filter(split=chosen)


@contextmanager
def filter_errors() -> Iterator[None]:
    """What is wrong with a named filter, as an `InputError`."""
    try:
        yield
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            raise
        raise InputError(f"{error.diag.message_primary}: see `medcbir filters --help`") from None


@contextmanager
def database_errors(conninfo: str) -> Iterator[None]:
    """What a server answers to anyone's good statement (it stopped, it is full, it forbids), as a `DatabaseError`."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"{describe(conninfo)}: {error.diag.message_primary}; ask its administrator for the right"
        ) from None
    except psycopg.OperationalError as error:
        raise DatabaseError(
            f"{describe(conninfo)}: {str(error).strip().splitlines()[0]}; once it is back, the same command goes on"
        ) from None
