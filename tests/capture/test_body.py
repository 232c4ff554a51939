"""Which id an answer bears is told from its body, where it stands near one of the ends."""

from __future__ import annotations

import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbprint.capture._body import id_in_body


def found_in(body):
    return id_in_body(httpx.Response(200, content=body))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"id":"chatcmpl-1","object":"chat.completion"}', "chatcmpl-1"),
        (b'{"id": "resp_1"}', "resp_1"),
        (b' \n{ "model" : "claude", "temperature": -1.5e3, "stream": false, "id" : "msg_1", "content": []}', "msg_1"),
        (b'{"object": null, "ideal": "x", "id": "1"}', "1"),
        (b'{"choices": [], "id": "behind what is no plain member"}', None),
        (b'{"text": "\\"id\\": \\"quoted\\"", "id": "behind an escape"}', None),
        (b'{"id": "with \\" an escape"}', None),
        (b'{"id": ""}', None),
        (b'{"id": 3}', None),
        (b'[{"id": "in a list"}]', None),
        (b'data: {"id": "in a stream"}', None),
        (b"", None),
        (b'{"candidates": [{"content": {}}], "modelVersion": "gemini", "responseId": "g-1"}', "g-1"),
        (b'{\n  "candidates": [],\n  "responseId": "g-1"\n}\n', "g-1"),
        (b'{"candidates": [{"responseId": "inner"}], "modelVersion": "gemini"}', None),
        (b'{"candidates": [{"responseId": "inner"}]}', None),
        (b'{"text": "\\"responseId\\": \\"quoted\\"}"}', None),
        (b'{"text\\"responseId": "of another name"}', None),
        ('{"id": "ä"}'.encode(), "ä"),
    ],
)
def test_the_id_of_the_outermost_object_is_found_at_its_ends(body, found):
    assert found_in(body) == found


NAMES = st.sampled_from(["id", "responseId", "object"]) | st.text(max_size=5)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | NAMES
INNER = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(NAMES, PLAIN, max_size=3)


@given(st.dictionaries(NAMES, INNER, max_size=5), st.sampled_from([None, 2]), st.booleans())
def test_what_is_found_is_what_stands_there(answer, indent, escaped):
    found = found_in(json.dumps(answer, indent=indent, ensure_ascii=escaped).encode(errors="surrogatepass"))
    assert found is None or found in (answer.get("id"), answer.get("responseId"))


def test_a_body_that_was_not_read_has_no_id():
    class Body(httpx.SyncByteStream):
        def __iter__(self):
            yield b'{"id": "x"}'

    response = httpx.Response(200, stream=Body())
    assert id_in_body(response) is None
    response.read()
    assert id_in_body(response) == "x"
