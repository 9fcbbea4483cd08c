"""What a benchmark goes over, by name: the parameters of its steps."""

from dataclasses import dataclass
from typing import Literal

SuiteName = Literal["paper", "smoke", "speed", "scale"]

COVID = "covid"
"""The dataset of Table 3, which stands apart from the combined one."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Parameters of the protocol (Denner et al. 2024, sections 2.4 and 3). Runs are named `bench-<name>-<encoder>`.

    `n` neighbours are kept for P@N, `max_k` is the largest K that kNN tries. The ablation takes classes of more than
    `larger_than` images and indexes of `sizes` images per class.
    """

    name: SuiteName
    about: str
    n: int = 10
    max_k: int = 100
    sizes: tuple[int, ...] = (5, 10, 25, 50, 100, 250, 500, 1000, 2000, 3000)
    larger_than: int = 3000


SUITES: dict[SuiteName, Suite] = {
    suite.name: suite
    for suite in (
        Suite("paper", "all of the paper, on the images and vectors of the database"),
        Suite(
            "smoke",
            "all steps on the few real images that come with installed packages",
            max_k=20,
            sizes=(1,),
            larger_than=0,
        ),
        Suite("speed", "how fast encoding and retrieval are, beside other ways"),
        Suite("scale", "all steps at the paper's size, on synthetic vectors whose truth is known"),
    )
}
