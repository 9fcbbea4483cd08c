"""Classes and patients numbered so that nothing drawn by a seed depends on their ids.

Ids are given as rows arrive, and labels and patients arrive in another order when an ingest is interrupted and goes on,
or when datasets come in another order. Images keep theirs within a table.
"""

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]


def by_appearance(values: Ids) -> tuple[Ids, Ids]:
    """The distinct of `values` (q,) in the order in which they first occur, and the place (q,) of each among them.

    >>> by_appearance(np.array([7, 3, 7, 5]))
    (array([7, 3, 5]), array([0, 1, 0, 2]))
    """
    distinct, first, numbers = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return distinct[order], places[numbers]
