"""The linear probe on many vectors: seconds per epoch, and memory against the size of the data.

Class k of 185 is drawn with weight 1/k, and an image is its class's direction plus noise of the same length. Anonymous
memory (RssAnon) is what the process holds itself; the peak (VmHWM) counts pages of the mapped copy too, which the
kernel may drop. The database is made anew in a temporary folder:

    python benchmarks/linear_probe.py [--images 200000] [--dim 512] [--epochs 5] [--batch-size 256] [--device cpu]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import medcbir
from medcbir.cli.progress import progress
from medcbir.store.connection import open_database
from medcbir.store.vectors import copy_in, unit

CLASSES = 185


def memory(name: str) -> float:
    """MiB of a line of this process's status."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


class Watched:
    """Progress that also notes the most anonymous memory seen."""

    def __init__(self, shown: medcbir.types.Progress) -> None:
        self.shown = shown
        self.most = 0.0

    def begin(self, stage: str, unit: str, total: int | None) -> None:
        """Pass it on."""
        self.shown.begin(stage, unit, total)

    def advance(self, items: int) -> None:
        """Look, and pass it on."""
        self.most = max(self.most, memory("RssAnon"))
        self.shown.advance(items)

    def note(self, text: str) -> None:
        """Pass it on."""
        self.shown.note(text)


def fill(db: medcbir.Database, images: int, dim: int) -> None:
    """Store `images` training vectors, and a tenth as many each of validation and test."""
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(CLASSES, dim)))
    weights = 1 / np.arange(1, CLASSES + 1)
    total = images + 2 * (images // 10)
    with open_database(db.conninfo, install="if_absent") as connection:
        connection.execute("INSERT INTO dataset (name) VALUES ('benchmark')")
        connection.execute(
            "INSERT INTO label (name, key, modality, region, finding, kind) "
            "SELECT 'CT/x/f' || g, 'f' || g, 'CT', 'x', 'f' || g, 'pathology' FROM generate_series(1, %s) AS g",
            (CLASSES,),
        )
        connection.execute(
            "INSERT INTO image (dataset_id, uri, split) SELECT 1, g::text, CASE WHEN g <= %s THEN 'train' "
            "WHEN g %% 2 = 0 THEN 'val' ELSE 'test' END FROM generate_series(1, %s) AS g",
            (images, total),
        )
        connection.execute("SELECT add_encoder('bench', %s, '{}', '\\x01', is_imported => true)", (dim,))
        for start in range(0, total, 20_000):
            ids = np.arange(start, min(start + 20_000, total)) + 1
            classes = rng.choice(CLASSES, len(ids), p=weights / weights.sum())
            noise = rng.normal(size=(len(ids), dim)) / np.sqrt(dim)
            copy_in(connection, "bench", ids, unit(centres[classes] + noise))
            with connection.cursor() as cursor, cursor.copy("COPY image_label (image_id, label_id) FROM STDIN") as copy:
                for pair in zip(ids.tolist(), (classes + 1).tolist(), strict=True):
                    copy.write_row(pair)
        connection.execute("ANALYZE image, image_label, embedding_bench")


def main() -> None:
    """Fill a database, train, and print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        db = medcbir.connect(data_dir=folder)
        try:
            db.start()
            fill(db, chosen.images, chosen.dim)
            trained = {"encoder": "bench", "device": chosen.device, "batch_size": chosen.batch_size}
            db.classify_linear(**trained, epochs=1)  # loads torch
            before = memory("RssAnon")
            with progress() as shown:
                watched = Watched(shown)
                started = time.perf_counter()
                made = db.classify_linear(**trained, epochs=chosen.epochs, progress=watched)
                whole = time.perf_counter() - started
            started = time.perf_counter()
            values = {(each.metric, each.average): each.value for each in db.evaluate_classes(made)}
            print(f"training vectors: {chosen.images * chosen.dim * 4 / 2**20:.0f} MiB")
            print(f"anonymous memory: {watched.most:.0f} MiB at most, {before:.0f} before")
            print(f"peak resident with mapped pages: {memory('VmHWM'):.0f} MiB")
            print(f"{made.certificate['seconds_per_epoch']:.1f} s per epoch, {whole:.1f} s in all")
            print(f"metric views: {time.perf_counter() - started:.1f} s; {values}")
        finally:
            db.close()
            db.stop()


if __name__ == "__main__":
    main()
