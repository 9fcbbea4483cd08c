import sys
import tracemalloc
from pathlib import Path

import pytest

from medcbir.errors import InputError
from medcbir.sources import Options, find_source
from medcbir.types import ImageRecord, Rejection

HEADER = "uri,dataset,patient,split,modality,region,finding"


@pytest.fixture
def manifest(tmp_path):
    def make(*lines: str, name: str = "list.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes("\n".join([*lines, ""]).encode(encoding))
        return path

    return make


def read(path, **options):
    return list(find_source(path).records(path, Options(**options)))


def test_a_row_becomes_a_record(manifest, tmp_path):
    [record] = read(manifest(HEADER, "a/1.png,nih,p1,validate,DX,CHEST,Pleural  Effusion"))
    assert record == ImageRecord(
        uri="a/1.png",
        dataset="nih",
        path=tmp_path / "a/1.png",
        patient="p1",
        modality="XR",
        region="chest",
        split="val",
        labels=record.labels,
    )
    assert [label.name for label in record.labels] == ["XR/chest/Pleural Effusion"]


def test_only_the_uri_is_required(manifest):
    first, second = read(manifest("uri", "1.png", "", '"2,3.png"'))
    assert (first.uri, first.dataset, first.labels) == ("1.png", "list", ())
    assert second.uri == "2,3.png"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_delimiters_byte_order_mark_case_and_further_columns(manifest, delimiter, encoding):
    header, row = ("URI, Age ,Frame,Study_UID", "ü.png,55,3,1.2.3")
    path = manifest(header.replace(",", delimiter), row.replace(",", delimiter), name="list.tsv", encoding=encoding)
    [record] = read(path)
    assert (record.uri, record.frame, record.study_uid) == ("ü.png", 3, "1.2.3")
    assert record.attributes == {"Age": "55"}


def test_several_findings_are_several_labels(manifest):
    [record] = read(manifest(HEADER, "1.png,,,,XR,chest,Mass|Nodule| Mass "))
    assert [label.name for label in record.labels] == ["XR/chest/Mass", "XR/chest/Nodule"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1.png,d,p", "line 3: 3 cells where the header has 8"),
        (",d,p,train,CT,chest,x,", "line 3: column uri: is empty"),
        ("1.png,d,p,most,CT,chest,x,", "line 3: column split: unknown split 'most'; known are train, val, test"),
        ("1.png,d,p,train,CT,chest,x,-1", "line 3: column frame: '-1' is no frame number; the first frame is 0"),
        ("1.png,d,p,train,CT,chest,x,1.5", "line 3: column frame: '1.5' is no frame number; the first frame is 0"),
        ("1.png,d,p,train,,,x,", "line 3: column finding: needs a modality and a region beside it"),
        ("../1.png,d,p,train,CT,chest,x,", "line 3: column uri: leads out of the root folder"),
        ("a/../../1.png,d,p,train,CT,chest,x,", "line 3: column uri: leads out of the root folder"),
        ("https://host/1.png,,,,,,,", "line 3: column uri: is a URL"),
        ("1\0.png,d,p,train,CT,chest,x,", "line 3: a NUL character"),
        ('1.png,"d"x,p,train,CT,chest,x,', "line 3: "),
    ],
)
def test_a_malformed_row_is_named_and_the_others_stay(manifest, row, reason):
    path = manifest(f"{HEADER},frame", "0.png,,,,,,,", row, "2.png,,,,,,,")
    first, refused, last = read(path)
    assert isinstance(refused, Rejection)
    assert refused.reason.startswith(reason)
    assert (refused.uri, refused.kind) == ("list.csv:3", "invalid")
    assert (first.uri, last.uri) == ("0.png", "2.png")


def test_lines_are_counted_as_an_editor_counts_them(manifest):
    *_, refused = read(manifest("uri,note", '1.png,"two\nlines"', "", "2.png"))
    assert refused.reason.startswith("line 5:")


def test_where_files_are(manifest, tmp_path):
    path = manifest("uri", "a/1.png", "/abs/2.png", "a/../3.png")
    assert [record.path for record in read(path, root=Path("/images"))] == [
        Path("/images/a/1.png"),
        Path("/abs/2.png"),
        Path("/images/a/../3.png"),
    ]
    assert read(path)[0].path == tmp_path / "a/1.png"
    assert {record.path for record in read(path, metadata_only=True)} == {None}
    [record] = read(manifest("uri", "s3://bucket/1.png"), metadata_only=True)
    assert record.uri == "s3://bucket/1.png"


def test_what_the_user_says_wins(manifest):
    [record] = read(manifest(HEADER, "1.png,nih,p1,train,XR,chest,x"), name="mine", split="test")
    assert (record.dataset, record.split) == ("mine", "test")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"name,label\n1,2\n", "has no column uri"),
        (b"uri,uri\n1,2\n", "column uri stands twice"),
        ("uri\nü.png\n".encode("utf-16"), "is not UTF-8 text"),
        (b"uri\n" + b"1.png\n" * 100_000 + b"\xff.png\n", "is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_manifest_is_an_error(tmp_path, content, reason):
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read(path)


def test_rows_are_read_one_by_one(manifest):
    names = [
        sys.intern(f"{row:06}.png") for row in range(50_000)
    ]  # or the interpreter's table of names grows meanwhile
    path = manifest("uri,modality,region,finding", *(f"{name},CT,chest,x" for name in names))
    stream = find_source(path).records(path, Options())
    next(stream)  # what it imports is no memory of the rows
    tracemalloc.start()
    try:
        assert sum(1 for _ in stream) == 49_999
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000  # all records at once take thirty times as much


PUBLISHED = "filepath,dataset,split,modality,anatomic_region,CT/abd/cyst,CT/abd/normal,MR/knee/tear"


def test_a_published_table_is_recognised_and_read(manifest):
    path = manifest(
        PUBLISHED,
        "radiology_ai/CT/abd/cyst/1.png,radimagenet,train,CT,abd,1,0,0",
        "2.png,radimagenet,validation,MR,knee,0.0,0.0,1.0",
        "3.png,radimagenet,test,CT,abd,1,1,0",
        "4.png,radimagenet,test,CT,abd,0,0,0",
    )
    assert find_source(path).name == "published"
    found = read(path, root=Path("/r"))
    assert [[label.name for label in record.labels] for record in found] == [
        ["CT/abd/cyst"],
        ["MR/knee/tear"],
        ["CT/abd/cyst", "CT/abd/normal"],
        [],
    ]
    assert [record.split for record in found] == ["train", "val", "test", "test"]
    assert found[0].path == Path("/r/radiology_ai/CT/abd/cyst/1.png")
    assert found[2].labels[1].kind == "anatomy"


def test_label_columns_may_stand_anywhere(manifest):
    path = manifest(
        ",CT/abd/cyst,filepath,dataset,split,modality,anatomic_region,age,MR/knee/tear", "0,0,1.png,r,train,MR,knee,7,1"
    )
    [record] = read(path)
    assert [label.name for label in record.labels] == ["MR/knee/tear"]
    assert record.attributes == {"column_1": "0", "age": "7"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1.png,r,train,CT,abd,2,0,0", "line 2: column CT/abd/cyst: is neither 0 nor 1"),
        ("1.png,r,train,CT,abd,1,0", "line 2: 7 cells where the header has 8"),
        ("1.png,r,fold3,CT,abd,1,0,0", "line 2: column split: unknown split 'fold3'"),
        ("../1.png,r,train,CT,abd,1,0,0", "line 2: column filepath: leads out"),
    ],
)
def test_a_malformed_published_row_is_named(manifest, row, reason):
    [refused] = read(manifest(PUBLISHED, row))
    assert refused.reason.startswith(reason)
    assert refused.kind == "invalid"
