"""Braintrust's span slugs say what the official SDKs wrote into them, and anything else is a ValueError."""

from __future__ import annotations

import base64
import json
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbprint.backends._slug import Slug, decode_slug

SAMPLES = json.loads(Path(__file__).with_name("braintrust_span_exports.json").read_text(encoding="utf-8"))
ID = uuid.UUID("11111111-2222-4333-8444-555555555555")


def slug(*entries: bytes, version: int = 3, kind: int = 2, count: int | None = None, rest: bytes = b"") -> str:
    head = bytes((version, kind, len(entries) if count is None else count))
    return base64.b64encode(head + b"".join(entries) + rest).decode()


def entry(field: int, value: bytes = ID.bytes) -> bytes:
    return bytes((field,)) + value


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["name"])
def test_a_sample_of_the_official_sdks_decodes_to_what_they_say(sample):
    logger = sample["compute_object_metadata_args"] or {}

    assert decode_slug(sample["slug"]) == Slug(
        version=sample["version"],
        object_type=sample["object_type_name"],
        object_id=sample["object_id"] or logger.get("project_id"),
        project_name=logger.get("project_name"),
        row_id=sample["row_id"],
        span_id=sample["span_id"],
        root_span_id=sample["root_span_id"],
    )


def test_the_samples_hold_both_versions_and_every_type():
    assert {(sample["version"], sample["object_type"]) for sample in SAMPLES} >= {
        (3, 1),
        (3, 2),
        (3, 3),
        (4, 1),
        (4, 2),
    }


def test_a_row_id_may_be_any_string():
    decoded = decode_slug(slug(entry(1), rest=b'{"row_id": "row/1 \xc3\xa9"}'))

    assert (decoded.object_id, decoded.row_id) == (str(ID), "row/1 é")


def test_empty_strings_say_nothing():
    rest = b'{"row_id": "", "compute_object_metadata_args": {"project_name": "", "project_id": ""}}'

    assert decode_slug(slug(rest=rest)) == Slug(version=3, object_type="project_logs")


def test_logger_arguments_that_are_no_object_say_nothing():
    assert decode_slug(slug(rest=b'{"compute_object_metadata_args": ["p"]}')).project_name is None


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param("", id="empty"),
        pytest.param("AwIA!", id="not base64"),
        pytest.param("AwI A", id="white space"),
        pytest.param("AwIAé", id="not ASCII"),
        pytest.param("AwIBAREREREiIkMzhERVVVVVVVU", id="without its padding"),
        pytest.param(base64.b64encode(b"\x03").decode(), id="one byte"),
        pytest.param(base64.b64encode(b"\x03\x02").decode(), id="two bytes"),
        pytest.param(slug(version=2), id="version 2"),
        pytest.param(slug(version=5), id="version 5"),
        pytest.param(slug(kind=0), id="type 0"),
        pytest.param(slug(kind=4), id="type 4"),
        pytest.param(slug(entry(0)), id="field 0"),
        pytest.param(slug(entry(5)), id="field 5"),
        pytest.param(slug(entry(1), version=4), id="field 1 is binary in version 3 only"),
        pytest.param(slug(count=1), id="an entry is missing"),
        pytest.param(slug(entry(1, b"short")), id="an entry is cut"),
        pytest.param(slug(entry(1), count=2), id="one of two entries is missing"),
        pytest.param(slug(rest=b"{"), id="JSON is cut"),
        pytest.param(slug(rest=b"[]"), id="JSON is no object"),
        pytest.param(slug(rest=b"null"), id="JSON is null"),
        pytest.param(slug(rest=b"\xff\xfe{}"), id="JSON is no text"),
        pytest.param(slug(rest=b"[" * 100_000), id="JSON is nested too deeply"),
        pytest.param(slug(rest=b'{"row_id": 7}'), id="the row id is a number"),
        pytest.param(slug(rest=b'{"object_id": ["x"]}'), id="the object id is a list"),
        pytest.param(slug(rest=b'{"compute_object_metadata_args": {"project_id": 1}}'), id="the project is a number"),
        pytest.param(slug(rest=b'{"row_id": "\\ud800"}'), id="half a surrogate pair"),
    ],
)
def test_a_broken_slug_is_a_value_error_that_quotes_no_more_than_its_start(broken):
    with pytest.raises(ValueError, match="not a Braintrust span slug of version 3 or 4") as caught:
        decode_slug(broken)

    assert broken[60:] == "" or broken not in str(caught.value)


def decodes_or_is_a_value_error(text: str) -> None:
    try:
        decoded = decode_slug(text)
    except ValueError:
        return
    assert decoded.version in {3, 4}
    for value in (decoded.object_id, decoded.project_name, decoded.row_id, decoded.span_id, decoded.root_span_id):
        assert value is None or (isinstance(value, str) and value)


@given(st.text())
def test_any_text_decodes_or_is_a_value_error(text):
    decodes_or_is_a_value_error(text)


@given(st.sampled_from([3, 4]), st.integers(1, 3), st.integers(0, 4), st.binary(max_size=80))
def test_any_bytes_behind_a_good_head_decode_or_are_a_value_error(version, kind, count, body):
    decodes_or_is_a_value_error(base64.b64encode(bytes((version, kind, count)) + body).decode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["object_id", "row_id", "span_id", "root_span_id", "compute_object_metadata_args", "project_id"]
)


@given(st.sampled_from([3, 4]), st.integers(1, 3), st.dictionaries(NAMES, JSON))
def test_any_json_part_decodes_or_is_a_value_error(version, kind, rest):
    decodes_or_is_a_value_error(slug(version=version, kind=kind, rest=json.dumps(rest).encode()))


@given(st.sampled_from(SAMPLES), st.data())
def test_a_sample_with_a_byte_changed_or_cut_decodes_or_is_a_value_error(sample, data):
    raw = bytearray(base64.b64decode(sample["slug"]))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    kept = raw[: data.draw(st.integers(0, len(raw)))]

    decodes_or_is_a_value_error(base64.b64encode(kept).decode())


FIELDS = st.fixed_dictionaries(
    {}, optional={name: st.uuids() for name in ("object_id", "row_id", "span_id", "root_span_id")}
)


@given(st.integers(1, 3), FIELDS)
def test_what_is_packed_as_version_3_is_read_back(kind, fields):
    numbers = {"object_id": 1, "row_id": 2, "span_id": 3, "root_span_id": 4}
    packed = [entry(numbers[name], value.bytes) for name, value in fields.items()]

    decoded = decode_slug(slug(*packed, kind=kind))

    for name in numbers:
        assert getattr(decoded, name) == (str(fields[name]) if name in fields else None)


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=16, max_size=16), st.text(min_size=1))
def test_what_is_packed_as_version_4_is_read_back(span_id, root_span_id, row_id):
    rest = json.dumps({"row_id": row_id, "object_id": "p"}).encode()

    decoded = decode_slug(slug(entry(3, span_id), entry(4, root_span_id), version=4, rest=rest))

    assert (decoded.span_id, decoded.root_span_id) == (span_id.hex(), root_span_id.hex())
    assert (decoded.row_id, decoded.object_id) == (row_id, "p")
