"""Candidate pairs: the n-th best of each query by packed keys, against sorting."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medcbir.retrieval.candidates import BELOW_ALL, Candidates, Exclusion
from medcbir.retrieval.image_sets import Exclusions, ImageSet

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.floats(-1.5, 1.5, width=32)), max_size=80)


@given(PAIRS, st.integers(1, 8))
def test_nth_best_is_that_of_a_sorted_list(pairs: list[tuple[int, float]], n: int) -> None:
    queries = np.array([query for query, _ in pairs], dtype=np.int32)
    scores = np.array([score for _, score in pairs], dtype=np.float32)
    found = Candidates(queries, np.zeros_like(queries), scores).nth_best(n, 8)
    for query in range(8):
        best = sorted(scores[queries == query].tolist(), reverse=True)
        assert found[query] == (best[n - 1] if len(best) >= n else BELOW_ALL)


def test_an_unknown_patient_excludes_nobody_but_the_query_itself() -> None:
    def images(ids: list[int], patients: list[int], studies: list[int]) -> ImageSet:
        return ImageSet(
            np.array(ids), np.array(patients), np.zeros(len(ids), np.int64), np.array(ids), np.array(studies)
        )

    queries, index = images([1, 2], [0, 7], [0, 9]), images([1, 2, 3, 4], [0, 7, 7, 0], [0, 9, 0, 9])
    grid = np.arange(2)[:, None], np.arange(4)
    with_patient = Exclusion(queries, index, Exclusions(same_patient=True))(*grid)
    assert with_patient.tolist() == [[True, False, False, False], [False, True, True, False]]
    only_itself = Exclusion(queries, index, Exclusions(same_patient=False))(*grid)
    assert only_itself.tolist() == [[True, False, False, False], [False, True, False, False]]
    with_study = Exclusion(queries, index, Exclusions(same_patient=False, same_study=True))(*grid)
    assert with_study.tolist() == [[True, False, False, False], [False, True, False, True]]
