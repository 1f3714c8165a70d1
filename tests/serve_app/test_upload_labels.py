"""Labels of an upload: all three forms say the same, and no file gets another one's label."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.catalogue.upload import LABEL_SOURCES as KNOWN_TO_THE_CATALOGUE
from models.classes import CLASSES
from models.errors import InvalidField, LabelsMismatch, UnknownClass
from serve_app.upload import Label
from serve_app.upload_labels import GivenLabel, by_name, checked, from_csv, from_json, in_order
from serve_app.upload_schemas import LABEL_SOURCES

FILES = ["a.jpg", "b.jpg", "c.jpg"]
NONE = GivenLabel()


def test_the_api_knows_the_sources_of_the_catalogue() -> None:
    assert LABEL_SOURCES == KNOWN_TO_THE_CATALOGUE


def test_labels_in_the_order_of_the_files() -> None:
    assert in_order(["mel", "", "nv"], 3) == [GivenLabel("mel"), GivenLabel(""), GivenLabel("nv")]


@pytest.mark.parametrize("labels", [[], ["mel"], ["mel", "nv"], ["mel"] * 4])
def test_another_number_of_labels_than_files(labels: list[str]) -> None:
    with pytest.raises(LabelsMismatch, match=rf"{len(labels)} fields .* 3 files"):
        in_order(labels, 3)


def test_labels_by_name() -> None:
    whole = {"label": "nv", "lesion_id": "L1", "label_source": "expert"}
    text = json.dumps({"c.jpg": "mel", "a.jpg": whole, "b.jpg": None})
    assert by_name(from_json(text), FILES) == [
        GivenLabel("nv", "L1", "expert"),
        NONE,
        GivenLabel("mel"),
    ]
    assert by_name(from_json("{}"), FILES) == [NONE] * 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mel",
        "{",
        '{"a.jpg": "mel"',
        '{"a.jpg": "mel"} nv',
        "[]",
        '["mel"]',
        "null",
        '{"a.jpg": 4}',
        '{"a.jpg": ["mel"]}',
        '{"a.jpg": true}',
        '{"a.jpg": {"label": 4}}',
        '{"a.jpg": {"labels": "mel"}}',
        '{"a.jpg": {"label": {"label": "mel"}}}',
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"a.jpg": NaN}',
    ],
    ids=lambda text: text[:30],
)
def test_a_map_that_is_none(text: str) -> None:
    with pytest.raises(InvalidField) as raised:
        from_json(text)
    assert len(raised.value.message) < 300


@pytest.mark.parametrize(
    "text",
    [
        '{"a.jpg": "mel", "a.jpg": "nv"}',
        '{"a.jpg": {"label": "mel", "label": "nv"}}',
    ],
)
def test_a_map_that_says_two_things_of_one_file(text: str) -> None:
    with pytest.raises(LabelsMismatch, match="2 times"):
        from_json(text)


def test_a_label_for_a_file_that_did_not_come() -> None:
    with pytest.raises(LabelsMismatch, match=r"1 files that were not sent, such as 'A\.jpg'"):
        by_name({"A.jpg": GivenLabel("mel"), "b.jpg": GivenLabel("nv")}, FILES)


def test_names_that_two_files_have() -> None:
    with pytest.raises(LabelsMismatch, match=r"'a\.jpg' is 2 times"):
        by_name({}, ["a.jpg", "b.jpg", "a.jpg"])


@pytest.mark.parametrize(
    "table",
    [
        "file,label,lesion_id,label_source\na.jpg,nv,L1,expert\nc.jpg,mel,,\n",
        "label_source,lesion_id,label,file\r\nexpert,L1,nv,a.jpg\r\n,,mel,c.jpg\r\n",
        '\ufefffile,label,lesion_id,label_source\n"a.jpg","nv","L1","expert"\n"c.jpg",mel,,',
    ],
    ids=["plain", "of Windows, in another order", "of Excel, quoted"],
)
def test_a_manifest(table: str) -> None:
    found = by_name(from_csv(table.encode()), FILES)
    assert [checked(one, NONE) for one in found] == [
        Label("nv", "expert", "L1"),
        Label(),
        Label("mel", "user"),
    ]


def test_a_manifest_of_two_columns() -> None:
    assert from_csv(b"file,label\na.jpg,mel\n") == {"a.jpg": GivenLabel("mel")}
    assert from_csv(b"file,label\n") == {}


@pytest.mark.parametrize(
    "table",
    [
        b"",
        b"a.jpg,mel\n",
        b"file\na.jpg\n",
        b"file,label,note\na.jpg,mel,x\n",
        b"file,label,label\na.jpg,mel,nv\n",
        b"file;label\na.jpg;mel\n",
        b"file,label\na.jpg\n",
        b"file,label\na.jpg,mel,nv\n",
        b'file,label\n"a.jpg,mel\n',
        b'file,label\n"a.jpg"x,mel\n',
        b"\xff\xfe" + "file,label\na.jpg,mel\n".encode("utf-16-le"),
        b"file,label\n\xe4.jpg,mel\n",
        b"file,label\n" + b"x" * 200_000 + b",mel\n",
        bytes(100),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
    ],
    ids=range(15),
)
def test_a_manifest_that_is_none(table: bytes) -> None:
    with pytest.raises(InvalidField) as raised:
        from_csv(table)
    assert len(raised.value.message) < 300


def test_a_manifest_that_names_a_file_twice() -> None:
    with pytest.raises(LabelsMismatch, match="2 times in the manifest"):
        from_csv(b"file,label\na.jpg,mel\na.jpg,mel\n")


def test_what_is_given_for_a_file_goes_before_what_is_given_for_all() -> None:
    defaults = GivenLabel(lesion_id="L9", label_source="consensus")
    assert checked(GivenLabel("mel"), defaults) == Label("mel", "consensus", "L9")
    assert checked(GivenLabel("mel", "L1", "expert"), defaults) == Label("mel", "expert", "L1")
    assert checked(GivenLabel(" mel ", " "), NONE) == Label("mel", "user")
    # An image without a label has no source of one.
    assert checked(NONE, defaults) == Label(None, None, "L9")


@pytest.mark.parametrize("code", ["MEL", "melanoma", "0", "nv;mel", "\u202emel", "x" * 10_000])
def test_a_label_that_is_no_class(code: str) -> None:
    found = checked(GivenLabel(code), NONE)
    assert isinstance(found, UnknownClass)
    assert len(found.message) < 200


@pytest.mark.parametrize(
    "given_label",
    [
        GivenLabel("mel", label_source="guess"),
        GivenLabel("mel", label_source="USER"),
        GivenLabel("mel", lesion_id="x" * 129),
        GivenLabel("mel", lesion_id="L\x001"),
        GivenLabel(None, lesion_id="L\n1"),
    ],
)
def test_what_is_wrong_with_one_label_is_said_of_it(given_label: GivenLabel) -> None:
    assert isinstance(checked(given_label, NONE), InvalidField)


@given(st.text(max_size=200), st.lists(st.text(max_size=5), max_size=3))
def test_any_text_is_a_map_or_an_error_of_ours(text: str, files: list[str]) -> None:
    for read in (lambda: from_json(text), lambda: from_csv(text.encode("utf-8", "replace"))):
        with suppress(LabelsMismatch, InvalidField):
            assert len(by_name(read(), files)) == len(files)


@given(st.dictionaries(st.text(min_size=1), st.sampled_from([*CLASSES, None])))
def test_each_file_gets_the_label_that_was_given_for_its_name(labels: dict[str, str]) -> None:
    found = by_name(from_json(json.dumps(labels)), list(labels))
    assert [one.label for one in found] == list(labels.values())
