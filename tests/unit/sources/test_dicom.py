import hashlib
import hmac
from pathlib import Path

import data_store
import pydicom
import pytest
from pydicom.uid import CTImageStorage

from medcbir.pixels import open_image
from medcbir.pixels.dicom import quiet_pydicom
from medcbir.sources import Options, find_source
from medcbir.sources.dicom import describe
from medcbir.types import ImageRecord

KEY = b"a key"
REAL = Path(data_store.__file__).parent / "data"


@pytest.fixture
def header() -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.Modality = "DX"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.ImageLaterality = "U"
    dataset.BurnedInAnnotation = "NO"
    dataset.SOPClassUID = CTImageStorage
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = "1.2.3", "1.2.4", "1.2.5"
    dataset.PatientID, dataset.IssuerOfPatientID = "MRN-0042", "St. Elsewhere"
    dataset.PatientName, dataset.PatientBirthDate = "DOE^JANE", "19700101"
    dataset.StudyDescription, dataset.SeriesDescription = "chest of Jane", "for Dr. Roe"
    dataset.InstitutionName, dataset.ReferringPhysicianName = "St. Elsewhere", "ROE^RICHARD"
    dataset.OperatorsName, dataset.StationName, dataset.AccessionNumber = "POE", "ROOM7", "ACC99"
    return dataset


def described(header, frame=0, **said):
    return describe(header, ImageRecord("u", "d", **said), frame=frame, hash_key=KEY)


def test_a_header_completes_the_record(header):
    record = described(header)
    assert (record.modality, record.region) == ("XR", "chest")
    assert (record.study_uid, record.series_uid, record.instance_uid) == ("1.2.3", "1.2.4", "1.2.5")
    assert record.attributes == {
        "view": "PA",
        "laterality": "U",
        "burned_in": False,
        "sop_class": "CT Image Storage",
    }


def test_the_patient_is_a_keyed_hash_of_issuer_and_id(header):
    record = described(header)
    assert record.patient == hmac.new(KEY, b"St. Elsewhere\0MRN-0042", hashlib.sha256).hexdigest()[:32]
    assert describe(header, record, frame=0, hash_key=b"other").patient == record.patient
    assert describe(header, ImageRecord("u", "d"), frame=0, hash_key=b"other").patient != record.patient
    header.IssuerOfPatientID = "General"
    assert described(header).patient != record.patient
    header.PatientID = " "
    assert described(header).patient is None


def test_nothing_that_identifies_is_kept(header):
    everything = repr(described(header)).casefold()
    for word in ("jane", "doe", "roe", "poe", "mrn", "0042", "1970", "elsewhere", "room7", "acc99"):
        assert word not in everything


def test_free_text_in_coded_elements_is_not_kept(header):
    with quiet_pydicom():
        header.ViewPosition = "please call Mrs Doe"
        header.StudyInstanceUID = "study of Doe"
    header.BodyPartExamined = "JANES CHEST"
    header.Modality = "DOE"
    record = described(header)
    assert "view" not in record.attributes
    assert (record.region, record.modality, record.study_uid) == (None, None, None)


def test_what_the_record_says_stays(header):
    record = described(header, patient="p1", modality="CT", region="knee", study_uid="s", attributes={"view": "AP"})
    assert (record.patient, record.modality, record.region, record.study_uid) == ("p1", "CT", "knee", "s")
    assert record.attributes["view"] == "AP"


def anatomy(meaning: str, code: str, side: str = "") -> pydicom.Dataset:
    coded, groups, frame_anatomy = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    coded.CodeValue, coded.CodingSchemeDesignator, coded.CodeMeaning = code, "SCT", meaning
    frame_anatomy.AnatomicRegionSequence, frame_anatomy.FrameLaterality = [coded], side
    groups.FrameAnatomySequence = [frame_anatomy]
    return groups


def test_the_anatomic_region_of_the_frame_serves_where_no_body_part_is_named(header):
    del header.BodyPartExamined
    header.PerFrameFunctionalGroupsSequence = [anatomy("Knee", "1", "L"), anatomy("unheard of", "51185008", "R")]
    assert described(header).region == "knee"
    assert described(header).attributes["laterality"] == "L"
    assert described(header, frame=1).region == "chest"
    header.PerFrameFunctionalGroupsSequence = []
    header.SharedFunctionalGroupsSequence = [anatomy("Brain", "2")]
    assert described(header, frame=1).region == "brain"


def test_a_view_that_is_only_coded_is_known(header):
    coded = pydicom.Dataset()
    coded.CodeValue, coded.CodingSchemeDesignator, coded.CodeMeaning = "399368009", "SCT", "medio-lateral oblique"
    header.ViewCodeSequence = [coded]
    assert described(header).attributes["view"] == "PA"
    del header.ViewPosition
    assert described(header).attributes["view"] == "MLO"


def test_a_damaged_element_costs_itself_alone(header):
    header.PerFrameFunctionalGroupsSequence = []
    header["Modality"] = pydicom.DataElement(0x00080060, "SQ", [])
    record = described(header)
    assert record.modality is None
    assert record.region == "chest"


def test_real_headers_are_described_without_a_warning():
    described_files = 0
    for file in sorted(REAL.iterdir()):
        image = open_image(file)
        assert image.header is not None
        record = describe(image.header, ImageRecord(str(file), "d"), frame=image.n_frames - 1, hash_key=KEY)
        described_files += record.modality is not None
    assert described_files > 50


def test_the_dicom_source_reads_nothing_from_paths(tmp_path):
    file = tmp_path / "CT" / "chest" / "1.dcm"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    [record] = find_source(tmp_path, "dicom").records(tmp_path, Options())
    assert (record.modality, record.region, record.labels) == (None, None, ())
