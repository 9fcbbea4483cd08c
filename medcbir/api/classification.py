"""Classification of the test images, by their nearest neighbours or by a linear layer, and its numbers."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medcbir.api.encoders import Device
from medcbir.api.runs import Runs
from medcbir.encoders import DEFAULT
from medcbir.store.encoders import find_encoder
from medcbir.types import Classification, ClassificationMetric, Filter, Progress, Run, Split

if TYPE_CHECKING:
    from medcbir.evaluation.knn import Weights


class Classifiers(Runs):
    """What the vectors of an encoder say of an image's class."""

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
        with its cosine similarity. Runs that fit are used again, missing ones retrieved. With a `name`, which must be
        free, the classification is called that, and runs it has to retrieve `name-val` and `name-test`. Numbers:
        `evaluate_classes`.
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
            return knn.classify(
                connection, stored, retrieved, k=k, max_k=max_k, weights=weights, name=name, progress=progress
            )

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
        name: str | None = None,
        progress: Progress | None = None,
    ) -> Classification:
        """Classify the test images by one linear layer trained on the training images' vectors (Table 6).

        AdamW on cross-entropy; training ends `patience` epochs after the lowest validation loss, whose layer is taken.
        With patience 0 all epochs are run and no validation images are needed. A `name` must be free. Numbers:
        `evaluate_classes`.
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
                name=name,
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
