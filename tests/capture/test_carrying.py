"""What is parsed from an answer carries its call, whatever object it is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from thumbprint import LogRef
from thumbprint._call import Call, attached
from thumbprint.capture._carrying import carry, response_id_in


@pytest.fixture
def call():
    return Call([LogRef(backend="cloudflare", id="1", operation="chat")])


class Misbehaving:
    """An object that cannot be looked into."""

    @property
    def __dict__(self):
        raise RuntimeError("look")


def test_an_object_that_cannot_be_looked_into_holds_no_answer(call):
    call.learns = True
    assert carry(call, Misbehaving()) is False


@pytest.mark.parametrize("name", ["response", "message"])
def test_what_an_event_holds_carries_the_call_too(call, name):
    event = SimpleNamespace(**{name: SimpleNamespace(id="resp_1")})
    assert carry(call, event) is False
    assert attached(event) is attached(getattr(event, name)) is call
    assert response_id_in(event) == "resp_1"


@pytest.mark.parametrize("result", [None, "text", {}, SimpleNamespace(), SimpleNamespace(id=7), SimpleNamespace(id="")])
def test_what_bears_no_id_has_none(call, result):
    carry(call, result)
    assert response_id_in(result) is None
