"""Which log entries a target leads to, and what is refused."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import openai
import pytest
import sdk
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import thumbprint
from thumbprint import LogRef


@pytest.fixture
def client(emulator):
    with thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url)) as wrapped:
        yield wrapped


@pytest.fixture
def tracer():
    return TracerProvider().get_tracer("tests")


def ask(client, text="Where is Ulm?"):
    return client.chat.completions.create(model="gpt-5", messages=sdk.asked(text))


def refs_of(target=None, **kwargs):
    receipt = thumbprint.record_feedback(*([] if target is None else [target]), thumbs="up", **kwargs)
    return [outcome.ref for outcome in receipt.outcomes]


def test_a_log_ref_is_its_own_target_whatever_scope_is_open(emulator, client):
    ref = LogRef(backend="cloudflare", id="01JADMCQQQBWH3NXZ5GCRN98DP")
    with thumbprint.scope():
        ask(client)
        assert refs_of(ref) == [ref]


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
def test_several_log_refs_are_all_targets_each_once(emulator, kind):
    refs = [LogRef(backend="cloudflare", id=name) for name in ("a", "b", "a")]
    assert sorted(ref.id for ref in refs_of(kind(refs))) == ["a", "b"]


def test_an_empty_list_leads_nowhere(emulator):
    with pytest.raises(thumbprint.UnknownTargetError, match="list of targets is empty"):
        thumbprint.record_feedback([], thumbs="up")


def test_a_list_of_anything_else_is_refused(emulator, client):
    with pytest.raises(thumbprint.ArgumentTypeError, match="takes LogRefs only"):
        thumbprint.record_feedback([ask(client)], thumbs="up")


def test_a_scope_leads_to_its_last_call_or_to_all(emulator, client):
    with thumbprint.scope() as scope:
        ask(client, "one")
        ask(client, "two")
    assert refs_of(scope) == [scope.refs[1]]
    assert refs_of(scope, which="all") == list(scope.refs)


def test_a_scopes_id_leads_to_its_calls_also_after_it_ended(emulator, client):
    with thumbprint.scope() as fresh, thumbprint.scope(id="message-42") as named:
        ask(client)
    assert refs_of("message-42") == refs_of(fresh.id) == [named.last]


@pytest.mark.parametrize("asked_before", range(4))
def test_a_fresh_id_leads_to_all_calls_of_its_scope_whenever_it_is_asked_for(emulator, client, asked_before):
    with thumbprint.scope() as outer, thumbprint.scope() as scope:
        for number in range(3):
            if number == asked_before:
                assert scope.id
            ask(client)
    assert refs_of(scope.id, which="all") == refs_of(outer.id, which="all") == list(scope.refs)


def test_a_fresh_id_is_known_to_whoever_captured_the_call(emulator):
    own = thumbprint.Thumbprint()
    with own.wrap(sdk.openai_client(emulator.cloudflare_openai_url)) as client, thumbprint.scope() as scope:
        ask(client)
    assert [outcome.ref for outcome in own.record_feedback(scope.id, thumbs="up").outcomes] == [scope.last]
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(scope.id, thumbs="up")
    own.shutdown()


def test_an_id_that_two_scopes_share_leads_to_the_calls_of_both(emulator, client):
    with thumbprint.scope(id="shared") as one:
        ask(client)
    with thumbprint.scope(id="shared") as two:
        ask(client)
    assert refs_of("shared") == [two.last]
    assert refs_of("shared", which="all") == [one.last, two.last]


def test_a_response_id_leads_to_its_call(emulator, client):
    with thumbprint.scope() as scope:
        completion = ask(client)
    assert refs_of(completion.id) == [scope.last]
    assert scope.last.response_id == completion.id


def test_a_streams_response_id_is_learned_from_its_first_chunk(emulator, client):
    with thumbprint.scope() as scope:
        stream = client.chat.completions.create(model="gpt-5", messages=sdk.asked(), stream=True)
        assert scope.last.response_id is None
        chunk = next(stream)
        stream.close()
    assert scope.last.response_id == chunk.id
    assert refs_of(chunk.id) == [scope.last]


def test_an_answer_that_was_built_anew_from_its_json_is_found_by_its_id(emulator, client):
    with thumbprint.scope() as scope:
        completion = ask(client)
    twin = type(completion).model_validate_json(completion.model_dump_json())
    assert refs_of(twin) == [scope.last]


class Run:
    """What a framework may return: it looks the id up when it is asked."""

    def __init__(self, answers):
        self._answers = answers

    @property
    def last_response_id(self):
        return self._answers[-1].id


@pytest.mark.parametrize(
    "made_of",
    [
        lambda answer: SimpleNamespace(response_id=answer.id),
        lambda answer: SimpleNamespace(id="run-1", provider_response_id=answer.id),
        lambda answer: Run([answer]),
        lambda answer: SimpleNamespace(id="run-1", response_metadata={"id": answer.id, "model": "gpt-5"}),
        lambda answer: SimpleNamespace(response=SimpleNamespace(provider_response_id=answer.id)),
        lambda answer: SimpleNamespace(raw=answer.model_dump()),
        lambda answer: answer.model_dump(),
    ],
    ids=["response_id", "provider_response_id", "last_response_id", "metadata", "response", "raw", "dict"],
)
def test_what_a_framework_makes_of_an_answer_is_found_by_the_response_id_that_it_bears(emulator, client, made_of):
    answer = ask(client, "one")
    with thumbprint.scope() as scope:
        ask(client, "another")
    assert scope.last not in refs_of(made_of(answer))
    assert [ref.response_id for ref in refs_of(made_of(answer))] == [answer.id]


@pytest.mark.parametrize("name", ["raw", "_raw_response", "data", "last_completion"])
def test_what_holds_an_answer_leads_to_its_call(emulator, client, name):
    answer = ask(client)
    thumbprint.configure()  # so that nothing is known of the response id
    assert refs_of(SimpleNamespace(**{name: answer})) == refs_of(answer)


def test_what_bears_the_ids_of_two_calls_is_ambiguous_and_what_bears_one_twice_is_not(emulator, client):
    one, two = ask(client, "one"), ask(client, "two")
    with pytest.raises(thumbprint.AmbiguousTargetError, match="SimpleNamespace bears the response ids of 2 calls"):
        thumbprint.record_feedback(SimpleNamespace(id=one.id, response_id=two.id), thumbs="up")
    assert refs_of(SimpleNamespace(id=one.id, response_id=one.id)) == refs_of(one)


def test_ids_of_other_things_are_not_taken_for_response_ids(emulator, client):
    with thumbprint.scope(id="message-42"):
        ask(client)
    for stranger in (SimpleNamespace(id="message-42", response_id=""), SimpleNamespace(request_id="1", response_id=7)):
        with pytest.raises(thumbprint.UnknownTargetError):
            thumbprint.record_feedback(stranger, thumbs="up")


def failed(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="error-400", messages=sdk.asked())
    return caught.value


def raised(error, cause):
    with pytest.raises(type(error)) as caught:
        raise error from cause
    return caught.value


def test_an_error_that_was_raised_from_an_api_error_leads_to_the_call_that_failed(emulator, client):
    failure = failed(client)
    of_framework = raised(RuntimeError("the model failed"), failure)
    of_application = raised(RuntimeError("no answer"), of_framework)
    assert refs_of(of_framework) == refs_of(of_application) == refs_of(failure)


def test_an_error_that_came_up_while_an_api_error_was_handled_leads_nowhere(emulator, client):
    def fail_twice():
        try:
            client.chat.completions.create(model="error-400", messages=sdk.asked())
        except openai.BadRequestError:
            raise RuntimeError("something else")  # noqa: B904 - what this is about

    with pytest.raises(RuntimeError) as caught:
        fail_twice()
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(caught.value, thumbs="up")


def test_errors_that_were_raised_from_one_another_in_a_circle_lead_nowhere(emulator):
    one = RuntimeError("one")
    raised(one, raised(RuntimeError("two"), one))
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(one, thumbs="up")


def test_nothing_leads_to_the_last_call_of_the_current_scope(emulator, client):
    with thumbprint.scope() as scope:
        ask(client, "one")
        ask(client, "two")
        assert refs_of() == [scope.refs[1]]


def test_inside_an_empty_scope_nothing_is_no_target_even_where_the_trace_has_calls(emulator, client, tracer):
    with tracer.start_as_current_span("request"):
        ask(client)
        with thumbprint.scope(), pytest.raises(thumbprint.UnknownTargetError, match="nothing was captured in the"):
            thumbprint.record_feedback(thumbs="up")


def test_outside_any_scope_nothing_leads_to_the_last_call_of_the_current_trace(emulator, client, tracer):
    with tracer.start_as_current_span("other"):
        ask(client, "another trace")
    with tracer.start_as_current_span("request") as request:
        with tracer.start_as_current_span("call") as span:
            completion = ask(client)
        [ref] = refs_of()
    assert ref == refs_of(completion)[0]
    assert ref.trace_id == trace.format_trace_id(request.get_span_context().trace_id)
    assert ref.span_id == trace.format_span_id(span.get_span_context().span_id)
    assert refs_of(ref.trace_id) == refs_of(ref.trace_id.upper()) == [ref]


def test_in_a_trace_without_calls_nothing_is_no_target(emulator, client, tracer):
    ask(client)
    with (
        tracer.start_as_current_span("request"),
        pytest.raises(thumbprint.UnknownTargetError, match="nothing was captured in the current trace"),
    ):
        thumbprint.record_feedback(thumbs="up")


def test_outside_any_scope_and_trace_nothing_is_no_target_and_no_other_calls_id_is_taken(emulator, client):
    ask(client)
    with pytest.raises(thumbprint.UnknownTargetError, match="neither a scope nor an OpenTelemetry span is current"):
        thumbprint.record_feedback(thumbs="up")
    assert thumbprint.flush(5).delivered == 0
    assert emulator.cloudflare_logs()[0]["feedback"] is None


@pytest.mark.parametrize("target", ["nobody", "", "chatcmpl-0", object(), {}, 3, 0.5, openai, b"id"])
def test_what_leads_nowhere_is_an_unknown_target(emulator, client, target):
    ask(client)
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(target, thumbs="up")


def test_an_empty_scope_leads_nowhere(emulator):
    scope = thumbprint.scope(id="message-42")
    for target in (scope, scope.id):
        with pytest.raises(thumbprint.UnknownTargetError, match="message-42"):
            thumbprint.record_feedback(target, thumbs="up")


def test_an_object_whose_attributes_misbehave_leads_nowhere(emulator):
    class Awkward:
        def __getattr__(self, name):
            raise RuntimeError(name)

    with pytest.raises(thumbprint.UnknownTargetError, match="Awkward"):
        thumbprint.record_feedback(Awkward(), thumbs="up")


@pytest.mark.parametrize("which", ["first", "", None, 1])
def test_another_which_is_refused(emulator, which):
    with pytest.raises(thumbprint.ArgumentValueError, match="which="):
        thumbprint.record_feedback("anything", thumbs="up", which=which)


def test_a_parse_that_met_the_length_limit_leads_to_its_call(emulator, client):
    pydantic = pytest.importorskip("pydantic")

    class City(pydantic.BaseModel):
        name: str

    body = {
        "id": "chatcmpl-cut",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-5",
        "choices": [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "{"}}],
    }
    emulator.fail(
        "/v1/.*/chat/completions", status=200, body=body, headers={"cf-aig-log-id": "01JADMCQQQBWH3NXZ5GCRN98DP"}
    )
    parse = getattr(client.chat.completions, "parse", None) or client.beta.chat.completions.parse
    with thumbprint.scope() as scope, pytest.raises(openai.LengthFinishReasonError) as caught:
        parse(model="gpt-5", messages=sdk.asked(), response_format=City)
    assert scope.refs == ()
    assert [ref.id for ref in refs_of(caught.value)] == ["01JADMCQQQBWH3NXZ5GCRN98DP"]


def test_a_ref_of_texts_of_another_type_is_a_ref_all_the_same(client):
    class Text(str):
        __slots__ = ()

    ref = LogRef(backend=Text("cloudflare"), id=Text("1"), account_id="a", gateway_id="g")
    assert thumbprint.record_feedback(ref, thumbs="up").outcomes[0].ref == ref


def test_forty_tasks_and_forty_threads_each_reach_their_own_call(emulator, client):
    """Calls and votes are interleaved on shared clients; half vote by the scope, half by the answer or its stream."""

    def text_of(kind, number):
        return f"{kind} {number}"

    def in_thread(number):
        with thumbprint.scope():
            answer = ask(client, text_of("thread", number))
            target = [answer] if number % 2 else []
            return thumbprint.record_feedback(*target, thumbs="up", user_id=text_of("thread", number))

    @thumbprint.scope()
    async def in_task(async_client, number, barrier):
        answer = await async_client.chat.completions.create(
            model="gpt-5", messages=sdk.asked(text_of("task", number)), stream=number % 4 == 1
        )
        await barrier.wait()  # until all calls were made
        target = [answer] if number % 2 else []
        receipt = thumbprint.record_feedback(*target, thumbs="up", user_id=text_of("task", number))
        if number % 4 == 1:
            await answer.close()
        return receipt

    async def tasks():
        made = asyncio.Event()
        count = 0

        class Barrier:
            async def wait(self):
                nonlocal count
                count += 1
                if count == 40:
                    made.set()
                await made.wait()

        async with thumbprint.wrap(sdk.async_openai_client(emulator.cloudflare_openai_url)) as async_client:
            return await asyncio.gather(*(in_task(async_client, number, Barrier()) for number in range(40)))

    with ThreadPoolExecutor(40) as pool:
        jobs = [pool.submit(in_thread, number) for number in range(40)]
        receipts = asyncio.run(tasks()) + [job.result() for job in jobs]
    assert [receipt.wait(30).status for receipt in receipts] == ["delivered"] * 80

    logs = emulator.cloudflare_logs()
    assert len(logs) == 80
    for log in logs:
        assert f'"{log["metadata"]["user_id"]}"' in log["request"]
        assert log["feedback"] == 1
