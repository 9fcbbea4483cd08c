"""What comes in: ingest once, watch a place, receive what is pushed; or only count it (survey)."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from datetime import date
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from medcbir.api.administration import Administration
from medcbir.api.encoders import Device, Encoders
from medcbir.encoders import DEFAULT, EncoderSpec, find_checkpoint
from medcbir.errors import MedcbirError
from medcbir.store.sqlfiles import query as read_query
from medcbir.types import EncodeReport, ImageRecord, IngestReport, Progress, Rejection, Split, Survey

if TYPE_CHECKING:
    from medcbir.sources import InstanceStore, Options


class Catalogue(Encoders, Administration):
    """Images of folders, manifests and PACS, catalogued and then encoded."""

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
