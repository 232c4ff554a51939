"""Scope ids in OpenTelemetry's baggage: what travels to other services, and what is taken from them."""

from __future__ import annotations

import asyncio

import pytest
import sdk
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, context, propagate

import thumbprint
from thumbprint import _scope
from thumbprint._scope import BAGGAGE, MAX_CARRIED, inbound_scope_ids


@pytest.fixture(autouse=True)
def empty_context():
    token = context.attach(context.Context())
    yield
    context.detach(token)


def sent():
    """Return the scope ids that a request made now would carry, as the service that gets it reads them."""
    headers = {}
    propagate.inject(headers)
    return inbound_scope_ids(propagate.extract(headers, context.Context()))


def arrived(*ids):
    """Go on as a service that was asked from inside these scopes."""
    context.attach(baggage.set_baggage(BAGGAGE, "\n".join(ids)))


def scope(mode, id=None):  # noqa: A002 - as the scope names it
    return _scope.Scope(id, baggage=lambda: mode)


# sending


def test_nothing_travels_unless_it_is_asked_for():
    with thumbprint.scope():
        assert sent() == ()
    thumbprint.configure(baggage="accept")
    with thumbprint.scope():
        assert sent() == ()


@pytest.mark.parametrize("mode", ["send", "both"])
def test_the_ids_of_open_scopes_travel_the_outermost_first(mode):
    thumbprint.configure(baggage=mode)
    with thumbprint.scope(id="outer"):
        with thumbprint.scope(id="größer, 100 %; x=y"):
            assert sent() == ("outer", "größer, 100 %; x=y")
        assert sent() == ("outer",)
    assert sent() == ()


def test_a_scope_decorated_before_configuration_sends_as_is_configured_when_it_is_entered():
    @thumbprint.scope(id="mine")
    def handler():
        return sent()

    assert handler() == ()
    thumbprint.configure(baggage="send")
    assert handler() == ("mine",)


def test_the_scope_of_a_thumbprint_of_ones_own_sends_as_that_is_configured():
    with thumbprint.Thumbprint(baggage="send").scope(id="mine"):
        assert sent() == ("mine",)
    with thumbprint.Thumbprint(baggage="send", disabled=True).scope(id="mine"):
        assert sent() == ()


def test_settings_that_cannot_be_used_do_not_harm_a_scope(monkeypatch, caplog):
    monkeypatch.setenv("THUMBPRINT_BAGGAGE", "everything")
    with thumbprint.scope():
        assert sent() == ()
    assert "THUMBPRINT_BAGGAGE (baggage=…) is 'everything': say send, accept or both" in caplog.text


def test_the_baggage_of_others_stays():
    context.attach(baggage.set_baggage("theirs", "1"))
    with scope("send", "mine"):
        assert baggage.get_all() == {"theirs": "1", BAGGAGE: "mine"}
    assert baggage.get_all() == {"theirs": "1"}


def test_in_each_step_of_a_generator_its_scope_is_in_the_baggage_and_between_them_it_is_not():
    @scope("send", "mine")
    def stream():
        yield sent()
        yield sent()

    steps = stream()
    assert [next(steps), sent(), next(steps), sent()] == [("mine",), (), ("mine",), ()]


def test_a_context_that_outlives_its_scope_is_left_without_its_id():
    """As where somebody attaches a context inside the scope and never detaches it."""
    arrived("theirs")
    key = context.create_key("something")
    with scope("both", "outer"):
        with scope("both", "inner"):
            context.attach(context.set_value(key, 1))
        assert sent() == ("theirs", "outer")
        with scope("both", "outer"):
            context.attach(context.set_value(key, 2))
        assert sent() == ("theirs", "outer")
    assert sent() == ("theirs",)


def test_a_context_that_outlives_its_only_scope_has_no_ids():
    with scope("send", "mine"):
        context.attach(context.set_value("something", 1))
    assert BAGGAGE not in baggage.get_all()
    with scope(None, "mine"):
        context.attach(context.set_value("something", 2))
    assert BAGGAGE not in baggage.get_all()


# accepting


def test_what_arrived_goes_on_with_both_and_is_replaced_with_send():
    arrived("theirs")
    with scope("both", "mine"):
        assert (sent(), inbound_scope_ids()) == (("theirs", "mine"), ("theirs",))
    with scope("send", "mine"):
        assert (sent(), inbound_scope_ids()) == (("mine",), ())


def test_a_task_that_outlives_its_scope_no_longer_reports_to_it_by_way_of_the_baggage():
    async def late(left):
        await left.wait()
        with scope("both", "later"):
            return inbound_scope_ids(), sent()

    async def main():
        left = asyncio.Event()
        with scope("both", "mine"):
            task = asyncio.create_task(late(left))
            await asyncio.sleep(0)
        left.set()
        return await task

    assert asyncio.run(main()) == ((), ("later",))


def calls_under(scope_id, *, mode):
    """Make a call as a service that was asked from inside the scope; return whether it is found by the scope's id."""
    thumbprint.configure(baggage=mode)
    arrived(scope_id)
    with thumbprint.scope(id="own"):
        sdk.closing(thumbprint.wrap(sdk.openai_client(None))).chat.completions.create(
            model="gpt-5", messages=sdk.asked()
        )
    assert thumbprint.record_feedback("own", thumbs="up").outcomes
    return thumbprint.record_feedback(scope_id, thumbs="up").outcomes


@pytest.mark.parametrize("mode", ["accept", "both"])
def test_a_call_is_kept_under_the_ids_that_arrived_where_they_are_accepted(emulator, mode):
    assert calls_under("theirs", mode=mode)


@pytest.mark.parametrize("mode", [None, "send"])
def test_a_stranger_s_baggage_attaches_no_call_to_a_scope(emulator, mode):
    with pytest.raises(thumbprint.UnknownTargetError):
        calls_under("theirs", mode=mode)


@pytest.mark.parametrize("value", ["", "\n\n", "x" * 1025, "\x00", "a\tb", " x", "\ud800", 17, "x" * (MAX_CARRIED + 1)])
def test_what_can_be_no_id_is_not_accepted(value):
    context.attach(baggage.set_baggage(BAGGAGE, value))
    assert inbound_scope_ids() == ()


@given(st.lists(st.text(min_size=1, max_size=1024), max_size=6))
def test_what_is_sent_arrives_as_it_was_the_innermost_first_in_line(ids):
    carried = _scope._carrying(context.Context(), ids)
    headers = {}
    propagate.inject(headers, carried)
    got = inbound_scope_ids(propagate.extract(headers, context.Context()))
    wanted = tuple(dict.fromkeys(filter(_scope._carriable, ids)))
    assert got == wanted[len(wanted) - len(got) :]
    assert len(headers.get("baggage", "")) <= MAX_CARRIED + len(BAGGAGE) + 1


def test_of_more_ids_than_fit_the_innermost_travel():
    many = [str(number) * 1000 for number in range(5)]
    assert inbound_scope_ids(_scope._carrying(context.Context(), many)) == tuple(many[-3:])
