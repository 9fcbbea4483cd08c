"""The 90:10 division of a training set into train and validation, by patient."""

import hashlib
from collections.abc import Iterable

_SEED = 42
_ONE_IN = 10


def validation_patients(patients: Iterable[str]) -> frozenset[str]:
    """The tenth of the patients (rounded to the nearest, halves up) whose images make the validation split.

    Patients are ranked by the SHA-256 of `42:<patient>`, and the first tenth is taken. That depends on the set of
    patients alone: not on their order, a random generator, a library's version, or the platform.
    """
    ranked = sorted(set(patients), key=lambda patient: hashlib.sha256(f"{_SEED}:{patient}".encode()).digest())
    return frozenset(ranked[: (len(ranked) + _ONE_IN // 2) // _ONE_IN])
