import tomllib
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcbir.errors import InputError
from medcbir.labels import (
    canonical_modality,
    canonical_region,
    canonical_split,
    coded_modality,
    coded_view,
    label,
    label_key,
    parse_label,
)


@pytest.mark.parametrize(
    ("word", "modality"),
    [
        ("CR", "XR"),
        ("DX", "XR"),
        ("x-ray", "XR"),
        ("X Ray", "XR"),
        ("radiograph", "XR"),
        ("MRI", "MR"),
        ("mr", "MR"),
        ("ct", "CT"),
        ("Ultrasound", "US"),
        ("PET", "PT"),
        ("images", None),
        ("", None),
        ("CTX", None),
    ],
)
def test_modalities(word, modality):
    assert canonical_modality(word) == modality


@pytest.mark.parametrize(
    ("word", "region"),
    [
        ("CHEST", "chest"),
        ("Abdomen", "abd"),
        ("abd", "abd"),
        ("CSPINE", "spine"),
        ("SKULL", "head"),
        ("BRAIN", "brain"),
        ("LSPINE", "spine"),
        ("51185008", "chest"),
        ("PORTAL_VEIN", None),
        ("JANE DOE", None),
    ],
)
def test_regions(word, region):
    assert canonical_region(word) == region


@pytest.mark.parametrize(
    ("code", "modality", "as_a_folder"),
    [
        ("DX", "XR", "XR"),
        ("IVOCT", "OPT", "OPT"),
        ("OPM", "OPM", "OPM"),
        ("PA", "PA", None),
        ("EC", "US", None),
        ("ST", "NM", None),
        ("SR", None, None),
    ],
)
def test_a_code_in_a_header_means_more_than_a_folder_of_that_name(code, modality, as_a_folder):
    assert coded_modality(code) == modality
    assert canonical_modality(code) == as_a_folder


def test_views_have_one_name_whatever_codes_them():
    assert {coded_view(code) for code in ("399162004", "R-10242")} == {"CC"}
    assert coded_view("R-10226") == "MLO"
    assert coded_view("1") is None


def test_a_term_that_names_no_place_has_no_region():
    for term in ("ARTERY", "CARDIOVASCSYS", "ENDOVASCULAR", "EXTREMITY", "JOINT", "LUMEN", "VEIN"):
        assert canonical_region(term) is None


def test_body_parts_of_the_standard_have_a_region():
    """A sample of DICOM PS3.16 table L-1, with terms and codes."""
    named = {
        "ABDOMENPELVIS 818982008": "abd",
        "ACJOINT 85856004": "shoulder",
        "ADRENAL 23451007": "abd",
        "CALCANEUS 80144004": "foot",
        "CHESTABDPELVIS 416775004": "chest",
        "CSPINE 122494005": "spine",
        "FEMUR 71341001": "thigh",
        "HEADNECK 774007": "head",
        "MEDIASTINUM 72410000": "chest",
        "NECKCHESTABDPELV 416319003": "neck",
        "PATELLA 64234005": "knee",
        "SIJOINT 39723000": "pelvis",
        "TESTIS 40689003": "pelvis",
        "THORACICAORTA 113262008": "aorta",
        "TMJOINT 53620006": "jaw",
        "WHOLEBODY 38266002": "wholebody",
    }
    for words, region in named.items():
        assert {canonical_region(word) for word in words.split()} == {region}


@pytest.mark.parametrize(
    ("word", "split"),
    [("validate", "val"), ("VALID", "val"), ("training", "train"), ("testing", "test"), ("all", None)],
)
def test_splits(word, split):
    assert canonical_split(word) == split


def test_no_spelling_means_two_things():
    text = files("medcbir.labels").joinpath("vocabulary.toml").read_text(encoding="utf-8")
    for table, names in tomllib.loads(text).items():
        spellings = [
            spelling.casefold().replace(" ", "").replace("_", "").replace("-", "")
            for name, others in names.items()
            for spelling in (name, *others)
        ]
        repeated = {spelling for spelling in spellings if spellings.count(spelling) > 1}
        assert not repeated, f"{table}: {repeated}"


@pytest.mark.parametrize("finding", [None, "", " ", "normal", "No Finding", "no_finding"])
def test_nothing_found_is_anatomy(finding):
    assert label("CT", "chest", finding).kind == "anatomy"


def test_a_finding_keeps_its_words_and_loses_its_blanks():
    made = label("CR", "CHEST", "  Pleural   Thickening ")
    assert (made.modality, made.region, made.finding, made.kind) == ("XR", "chest", "Pleural Thickening", "pathology")
    assert made.name == "XR/chest/Pleural Thickening"


def test_regions_that_a_person_wrote_are_never_merged():
    assert label("XR", "Thorax").region == "Thorax"
    assert label("XR", "patella").name != label("XR", "knee").name


def test_unknown_modality_and_region_stay_as_written():
    assert label("Photo", "Left Thing", "rash").name == "Photo/Left Thing/rash"


def test_labels_are_parsed():
    assert parse_label("CT/chest/nodule") == label("CT", "chest", "nodule")
    assert parse_label("US/thyroid") == label("US", "thyroid")
    assert parse_label("CT/chest/nodule/mass").finding == "nodule/mass"


@pytest.mark.parametrize("name", ["", "CT", "CT/", "/chest", " / /x"])
def test_what_is_no_label_is_refused(name):
    with pytest.raises(InputError):
        parse_label(name)


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8), st.sampled_from([" ", "_", "  ", ""]))
def test_spellings_that_differ_in_case_and_spaces_share_a_key(word, gap):
    assert label_key(f"XR/chest/{word}{gap}{word}") == label_key(f"xr/Chest/{word} {word}")


def test_different_findings_have_different_keys():
    assert label_key("XR/chest/mass") != label_key("XR/chest/nodule")
    assert label_key("CT/chest/mass") != label_key("CT/chestmass")
