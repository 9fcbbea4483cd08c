"""The hits of a run as files for other programs: Parquet, TREC run and qrels, and the published knn.csv."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from medcbir.errors import InputError
from medcbir.store.connection import Connection
from medcbir.store.sqlfiles import query
from medcbir.store.vector_files import parquet, replaced
from medcbir.types import Run

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class _QueryHits:
    query_id: int
    uri: str
    labelled: bool
    hit_ids: list[int]
    hit_uris: list[str | None]
    distances: list[float]
    relevant: list[bool]


def export_run(connection: Connection, run: Run, file: Path) -> list[Path]:
    """Write the hits of `run` as the suffix of `file` says; return the files.

    `.parquet`: a row per hit with query_id, query_uri, rank, image_id, hit_uri, distance, relevant (null where
    the query has no single label). `.csv`: the published knn.csv, column `query`, then `1` to N, of uris. `.trec`: a
    TREC run of the labelled queries, and beside it, as `.qrels`, whether each of these hits is relevant; images go by
    image_id.
    Raises `InputError` for another suffix.
    """
    writers = {".parquet": _parquet, ".csv": _knn_csv, ".trec": _trec}
    if file.suffix.lower() not in writers:
        raise InputError(f"cannot tell the format of {file.name}: name it .parquet, .csv (knn.csv) or .trec")
    with connection.transaction():
        return writers[file.suffix.lower()](file, run, _queries(connection, run))


def _queries(connection: Connection, run: Run) -> Iterator[_QueryHits]:
    with connection.cursor(name="run_hits", binary=True) as cursor:
        cursor.itersize = _BATCH
        cursor.execute(query("run_hits"), {"run_id": run.run_id})
        for row in cursor:
            yield _QueryHits(*row)


def _parquet(file: Path, run: Run, queries: Iterable[_QueryHits]) -> list[Path]:
    pa, pq = parquet()
    schema = pa.schema(
        [
            *(("query_id", pa.int64()), ("query_uri", pa.string()), ("rank", pa.int32()), ("image_id", pa.int64())),
            *(("hit_uri", pa.string()), ("distance", pa.float64()), ("relevant", pa.bool_())),
        ]
    )
    with replaced(file) as draft, pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        arriving = iter(queries)
        while some := list(islice(arriving, _BATCH)):
            columns = [
                [each.query_id for each in some for _ in each.hit_ids],
                [each.uri for each in some for _ in each.hit_ids],
                [rank for each in some for rank in range(1, len(each.hit_ids) + 1)],
                list(chain.from_iterable(each.hit_ids for each in some)),
                list(chain.from_iterable(each.hit_uris for each in some)),
                list(chain.from_iterable(each.distances for each in some)),
                [relevant if each.labelled else None for each in some for relevant in each.relevant],
            ]
            writer.write_table(pa.table(columns, schema=schema))
    return [file]


def _knn_csv(file: Path, run: Run, queries: Iterable[_QueryHits]) -> list[Path]:
    with replaced(file) as draft, draft.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["query", *range(1, run.n + 1)])
        for each in queries:
            writer.writerow([each.uri, *each.hit_uris, *[None] * (run.n - len(each.hit_uris))])
    return [file]


def _trec(file: Path, run: Run, queries: Iterable[_QueryHits]) -> list[Path]:
    """The score is N + 1 - rank: programs order by it, and similarities that tie in float32 would lose their order."""
    judged = file.with_suffix(".qrels")
    with (
        replaced(file) as run_draft,
        replaced(judged) as judged_draft,
        run_draft.open("w", encoding="utf-8") as hits,
        judged_draft.open("w", encoding="utf-8") as qrels,
    ):
        for each in queries:
            if each.labelled:
                for rank, (image_id, relevant) in enumerate(zip(each.hit_ids, each.relevant, strict=True), 1):
                    hits.write(f"{each.query_id} Q0 {image_id} {rank} {run.n + 1 - rank} {run.name}\n")
                    qrels.write(f"{each.query_id} 0 {image_id} {int(relevant)}\n")
    return [file, judged]
