from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import types

import pytest

from thumbprint import LogRef
from thumbprint._call import ATTRIBUTE, Call, attach, attached, detach, sealed

CLOUDFLARE = LogRef(backend="cloudflare", id="01A", operation="chat", account_id="a", gateway_id="g")
BRAINTRUST = LogRef(backend="braintrust", id="row", operation="chat", project_id="p", captured_at=1.5)


class Answer:
    """An object of the SDK's, as far as carrying a call goes."""


def test_a_call_speaks_for_its_refs():
    call = Call([CLOUDFLARE, BRAINTRUST])
    assert call.refs == (CLOUDFLARE, BRAINTRUST)
    assert call.operation == "chat"
    assert call.response_id is None
    assert call.generated
    assert not call.repeats
    assert Call([CLOUDFLARE], repeats=True).repeats


def test_a_call_takes_any_iterable_of_refs():
    assert Call(iter([CLOUDFLARE])).refs == (CLOUDFLARE,)


def test_an_embedding_did_not_generate():
    assert not Call([LogRef(backend="cloudflare", id="1", operation="embeddings")]).generated


def test_a_call_learns_its_response_id_for_all_its_refs():
    call = Call([CLOUDFLARE, BRAINTRUST])
    call.learn_response_id("chatcmpl-1")
    assert call.response_id == "chatcmpl-1"
    assert [(ref.id, ref.response_id) for ref in call.refs] == [("01A", "chatcmpl-1"), ("row", "chatcmpl-1")]
    assert CLOUDFLARE.response_id is None


def test_a_calls_repr_names_its_log_entries_and_nothing_else():
    assert repr(Call([CLOUDFLARE, BRAINTRUST])) == "Call(cloudflare:01A, braintrust:row)"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_of_an_answer_lead_to_the_same_call(copied):
    answer = Answer()
    call = Call([CLOUDFLARE])
    attach(answer, call)
    assert attached(copied(answer)) is call
    assert copied(call) is call


def test_a_pickled_answer_leads_to_a_call_with_equal_refs():
    answer = Answer()
    attach(answer, Call([CLOUDFLARE, BRAINTRUST]))
    assert attached(pickle.loads(pickle.dumps(answer))).refs == (CLOUDFLARE, BRAINTRUST)


def test_a_pickled_call_is_read_by_a_process_without_thumbprint():
    script = (
        "import pickle, sys; sys.modules['thumbprint'] = None; print(pickle.loads(sys.stdin.buffer.read())[0]['id'])"
    )
    pickled = pickle.dumps(Call([CLOUDFLARE]))
    done = subprocess.run([sys.executable, "-c", script], input=pickled, capture_output=True, check=True)
    assert done.stdout.strip() == b"01A"


@pytest.mark.parametrize("target", [None, "text", 1, (), object(), b""])
def test_what_cannot_carry_a_call_is_left_as_it_is(target):
    attach(target, Call([CLOUDFLARE]))
    assert attached(target) is None


def test_a_call_passes_by_the_answers_own_setattr():
    class Strict(Answer):
        def __setattr__(self, name, value):
            raise AssertionError(name)

    answer = Strict()
    attach(answer, Call([CLOUDFLARE]))
    assert attached(answer).refs == (CLOUDFLARE,)


def test_an_object_of_a_type_that_cannot_be_hashed_is_left_as_it_is():
    class Unhashable(type):
        __hash__ = None

    class Odd(metaclass=Unhashable):
        pass

    odd = Odd()
    attach(odd, Call([CLOUDFLARE]))
    assert attached(odd) is None


def test_an_object_whose_attributes_misbehave_carries_no_call():
    class Misbehaving:
        def __getattr__(self, name):
            raise RuntimeError(name)

    assert attached(Misbehaving()) is None


@pytest.mark.parametrize(
    "target",
    [
        None,
        "text",
        Answer(),
        types.SimpleNamespace(**{ATTRIBUTE: ()}),
        types.SimpleNamespace(**{ATTRIBUTE: [CLOUDFLARE.to_dict()]}),
        types.SimpleNamespace(**{ATTRIBUTE: "text"}),
        types.SimpleNamespace(**{ATTRIBUTE: ("text",)}),
        types.SimpleNamespace(**{ATTRIBUTE: (None,)}),
        types.SimpleNamespace(**{ATTRIBUTE: ({"backend": "cloudflare"},)}),
    ],
)
def test_an_object_that_carries_no_sound_call_carries_none(target):
    assert attached(target) is None


def test_an_object_of_javascript_carries_a_call_as_a_text():
    call = Call([LogRef(backend="b", id="1", operation="chat"), LogRef(backend="c", id="2")])
    found = attached(types.SimpleNamespace(**{ATTRIBUTE: sealed(call)}))
    assert (found.refs, found.operation) == (call.refs, "chat")


def test_what_a_stranger_sends_carries_no_call():
    text = json.dumps([CLOUDFLARE.to_dict()])
    assert text in sealed(Call([CLOUDFLARE]))
    for forged in (text, f"{'0' * 32}{text}", [CLOUDFLARE.to_dict()], CLOUDFLARE.to_dict()):
        assert attached(types.SimpleNamespace(**{ATTRIBUTE: forged})) is None


def test_what_carries_a_call_can_be_rid_of_it():
    request = types.SimpleNamespace()
    attach(request, Call([CLOUDFLARE]))
    detach(request)
    detach(request)
    assert vars(request) == {}


class Stubborn:
    """An object that shows a call and keeps it."""

    __slots__ = ()
    _thumbprint = "a call"


@pytest.mark.parametrize("target", [None, "text", Answer(), Stubborn()])
def test_what_cannot_be_rid_of_anything_stays_as_it_is(target):
    detach(target)


def test_a_model_of_pydantic_1_is_left_as_it_is():
    """It would show an attribute of ours in its dumps; pydantic 2 keeps its first version's code for such models."""
    v1 = pytest.importorskip("pydantic.v1")

    class Answer(v1.BaseModel):
        id: str

    answer = Answer(id="chatcmpl-1")
    attach(answer, Call([LogRef(backend="b", id="1")]))
    assert answer.json() == '{"id": "chatcmpl-1"}'
    assert attached(answer) is None
