"""DICOM files: a folder whose paths mean nothing, and what a header tells about its image without telling who it is."""

import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import UID

from medcbir.labels import canonical_region, coded_modality, coded_view
from medcbir.pixels.dicom import quiet_pydicom
from medcbir.sources import Options, Source
from medcbir.sources._places import Place, by_template
from medcbir.sources.folder import files
from medcbir.types import ImageRecord, Rejection

_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")  # value representation CS (PS3.5 6.2): anything longer is free text
_UID = re.compile(r"[0-9.]{1,64}")
_PSEUDONYM_LENGTH = 32  # hexadecimal digits: 128 bits


def describe(header: pydicom.Dataset, record: ImageRecord, *, frame: int, hash_key: bytes) -> ImageRecord:
    """`record` completed by `header`; what it already says stays.

    Taken are modality, region, the three UIDs, and as attributes view, laterality, burned_in and sop_class. The patient
    becomes the first 32 hexadecimal digits of HMAC-SHA-256 under `hash_key` over issuer and id (PS3.3 C.7.1.1). No
    name, date or free text is read.
    """
    with quiet_pydicom():
        anatomy = _frame_anatomy(header, frame)
        attributes = {
            "view": _code(header, "ViewPosition") or _view(header),
            "laterality": _laterality(header, anatomy),
            "burned_in": {"YES": True, "NO": False}.get(_code(header, "BurnedInAnnotation") or ""),
            "sop_class": _sop_class(header),
        }
        told = {name: value for name, value in attributes.items() if value is not None}
        return replace(
            record,
            patient=record.patient or _pseudonym(header, hash_key),
            study_uid=record.study_uid or _uid(header, "StudyInstanceUID"),
            series_uid=record.series_uid or _uid(header, "SeriesInstanceUID"),
            instance_uid=record.instance_uid or _uid(header, "SOPInstanceUID"),
            modality=record.modality or coded_modality(_text(header, "Modality")),
            region=record.region or _region(header, anatomy),
            attributes=told | dict(record.attributes),
        )


def _pseudonym(header: pydicom.Dataset, hash_key: bytes) -> str | None:
    patient = _text(header, "PatientID")
    if not patient:
        return None
    issued = f"{_text(header, 'IssuerOfPatientID')}\0{patient}"
    return hmac.new(hash_key, issued.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:_PSEUDONYM_LENGTH]


def _frame_anatomy(header: pydicom.Dataset, frame: int) -> pydicom.Dataset | None:
    """The Frame Anatomy functional group (PS3.3 C.7.6.16.2.8): of the frame, else of all."""
    for groups, position in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        group = _item(header, groups, position)
        anatomy = None if group is None else _item(group, "FrameAnatomySequence")
        if anatomy is not None:
            return anatomy
    return None


def _region(header: pydicom.Dataset, anatomy: pydicom.Dataset | None) -> str | None:
    words = [_text(header, "BodyPartExamined")]
    for place in (anatomy, header):
        coded = None if place is None else _item(place, "AnatomicRegionSequence")
        if coded is not None:
            words += [_text(coded, "CodeValue"), _text(coded, "CodeMeaning")]
    return next((region for region in map(canonical_region, words) if region), None)


def _laterality(header: pydicom.Dataset, anatomy: pydicom.Dataset | None) -> str | None:
    sides = [_code(header, "ImageLaterality"), _code(header, "Laterality")]
    if anatomy is not None:
        sides.insert(0, _code(anatomy, "FrameLaterality"))
    return next((side for side in sides if side in ("L", "R", "B", "U")), None)


def _view(header: pydicom.Dataset) -> str | None:
    """The view by its code, which mammography and radiography may give alone (PS3.3 C.8.11.7, C.8.11.5)."""
    coded = _item(header, "ViewCodeSequence")
    return None if coded is None else coded_view(_text(coded, "CodeValue"))


def _sop_class(header: pydicom.Dataset) -> str | None:
    uid = _uid(header, "SOPClassUID")
    return None if uid is None else UID(uid).name


def _uid(header: pydicom.Dataset, keyword: str) -> str | None:
    uid = _text(header, keyword)
    return uid if _UID.fullmatch(uid) else None


def _code(header: pydicom.Dataset, keyword: str) -> str | None:
    code = _text(header, keyword).upper()
    return code if _CODE.fullmatch(code) else None


def _text(header: pydicom.Dataset, keyword: str) -> str:
    """The first value of an element, without padding; '' where there is none or it cannot be read."""
    try:
        value: Any = header.get(keyword)
    except Exception:
        return ""
    if isinstance(value, pydicom.multival.MultiValue):
        value = value[0] if value else None
    return "" if value is None else str(value).replace("\0", "").strip()


def _item(header: pydicom.Dataset, keyword: str, position: int = 0) -> pydicom.Dataset | None:
    try:
        items = header.get(keyword)
        item: pydicom.Dataset | None = items[position] if isinstance(items, pydicom.Sequence) else None
    except Exception:
        return None
    return item


def _records(path: Path, options: Options) -> Iterator[ImageRecord | Rejection]:
    read = by_template(options.label_from) if options.label_from is not None else lambda _: Place()
    return files(path, options, read)


SOURCE = Source(
    name="dicom",
    title="DICOM files; nothing is read from their paths",
    recognises=lambda _: False,
    records=_records,
)
