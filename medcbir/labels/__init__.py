"""The label vocabulary: `MODALITY/region/finding`, and the many spellings that mean the same.

Words of a dataset, a folder or a DICOM header enter; `Label`s and canonical names leave. The spellings stand in
`vocabulary.toml`, the names that published datasets give their findings in `datasets.csv`. It must never invent a name
for a word that it does not know, nor reword a finding: these stay as their publisher writes them.
"""

from medcbir.labels.datasets import publisher_labels
from medcbir.labels.vocabulary import (
    canonical_modality,
    canonical_region,
    canonical_split,
    coded_modality,
    coded_view,
    label,
    label_key,
    parse_label,
    written_region,
)

__all__ = [
    "canonical_modality",
    "canonical_region",
    "canonical_split",
    "coded_modality",
    "coded_view",
    "label",
    "label_key",
    "parse_label",
    "publisher_labels",
    "written_region",
]
