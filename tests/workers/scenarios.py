"""What a Worker does with thumbprint, each against a binding that is new: in Pyodide by `run.mjs`, and in CPython.

Each scenario is given a `House`, and fails where it raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading

import js
from pyodide.ffi import JsProxy

import thumbprint
from thumbprint import workers

SECRET = "a secret of the Worker's own"
CHAT = "@test/chat"
GATEWAY = {"gateway": {"id": "production"}}
PATIENCE = 60  # seconds

_every = []


def scenario(function):
    """Have it run, under its name."""
    _every.append(function)
    return function


def every():
    """Return name and function of each scenario."""
    return [(function.__name__, function) for function in _every]


async def run(function, house):
    """Run one scenario: as in a request, which configures before all."""
    workers.configure(house.env.AI, secret=SECRET)
    async with asyncio.timeout(PATIENCE):
        await function(house)


class House:
    """The service behind the binding, and the binding as the application has it: `env.AI`."""

    def __init__(self, *, service, env, kind):
        self.service, self.env, self.kind = service, env, kind

    @property
    def ai(self):
        """The binding, wrapped by thumbprint."""
        return workers.wrap(self.env.AI)

    def log(self, log_id):
        return json.loads(self.service.log(log_id))

    def ids(self):
        return json.loads(self.service.ids())

    def requests(self):
        return json.loads(self.service.requests())

    def arguments(self, *values):
        """Return arguments as the binding itself takes them, without thumbprint."""
        return values if self.kind == "sdk" else tuple(map(converted, values))

    def bare(self, *args):
        """Call the binding itself."""
        return self.env.AI.run(*self.arguments(*args))


def converted(value):
    return js.JSON.parse(json.dumps(value)) if isinstance(value, dict) else value


def plain(value):
    """Return the value as JSON has it."""
    return json.loads(js.JSON.stringify(value)) if isinstance(value, JsProxy) else value


async def text_of(stream):
    return await js.Response.new(stream).text()


class raises(contextlib.AbstractContextManager):  # noqa: N801 - pytest's own name
    """What pytest has under this name; Pyodide has no pytest."""

    def __init__(self, kind, words=""):
        self._kind, self._words = kind, words

    def __exit__(self, kind, error, traceback):
        assert kind is not None, f"no {self._kind.__name__} was raised"
        return issubclass(kind, self._kind) and self._words in str(error)


async def failure(awaitable):
    """Return the error of JavaScript's that it ends in."""
    try:
        await awaitable
    except Exception as error:
        return error
    raise AssertionError("no error was raised")


async def asked(house, model=CHAT, options=GATEWAY, **inputs):
    """Make a call in a scope of its own; return its answer and the scope."""
    with thumbprint.scope() as scope:
        return await house.ai.run(model, {"prompt": "Where is Ulm?", **inputs}, options), scope


# what the caller gets


@scenario
async def the_caller_gets_what_the_binding_itself_gives(house):
    for model in ("@test/chat", "@test/list", "@test/string", "@test/number", "@test/null", "@cf/baai/bge-m3"):
        given, _ = await asked(house, model)
        own = await house.bare(model, {"prompt": "Where is Ulm?"}, GATEWAY)
        assert type(given) is type(own), (model, given, own)
        assert plain(given) == plain(own), (model, given, own)
    assert len(house.ids()) == 12


@scenario
async def what_is_no_json_is_a_stream_as_ever(house):
    for model in ("@test/stream", "@test/charset", "@test/image"):
        given, scope = await asked(house, model, options={**GATEWAY, "stream": True})
        own = await house.bare(model, {"prompt": "Where is Ulm?"}, GATEWAY)
        assert isinstance(given, JsProxy)
        assert type(given) is type(own)
        assert given.constructor.name == own.constructor.name == "ReadableStream"
        assert await text_of(given) == await text_of(own) != ""
        assert [ref.id for ref in scope.refs] == house.ids()[-2:-1]


@scenario
async def what_the_caller_gets_looks_as_if_nobody_had_touched_it(house):
    given, _ = await asked(house)
    assert js.JSON.stringify(converted(given)) == '{"response":"At the Danube.","usage":{"tokens":7,"cached":null}}'
    if isinstance(given, JsProxy):
        assert list(js.Object.keys(given)) == ["response", "usage"]
        assert set(given.to_py()) == {"response", "usage"}
    else:
        assert (given.response, given["usage"]) == ("At the Danube.", {"tokens": 7, "cached": None})
        assert list(given) == ["response", "usage"]


@scenario
async def errors_are_the_bindings_own(house):
    models = ("@test/refused", "@test/unnamed", "@test/upstream", "@test/listed", "@test/unlisted", "@test/broken")
    for model in (*models, "@test/empty", "@test/damaged", "@test/unheard-of"):
        own = await failure(house.bare(model, {}, GATEWAY))
        given = await failure(house.ai.run(model, {}, GATEWAY))
        assert type(given) is type(own), (model, given, own)
        assert (given.name, given.message) == (own.name, own.message), (model, given, own)


@scenario
async def what_the_binding_keeps_of_the_last_call_can_be_read_and_is_new_each_time(house):
    ai = house.ai
    assert not ai.aiGatewayLogId  # null
    await asked(house)
    assert ai.aiGatewayLogId == house.ids()[0]
    await asked(house)
    assert (ai.aiGatewayLogId, ai.lastRequestHttpStatusCode) == (house.ids()[1], 200)
    await failure(house.ai.run("@test/refused", {}, GATEWAY))
    assert ai.lastRequestInternalStatusCode == 1001
    with raises(AttributeError):
        ai.unheardOf  # noqa: B018 - it is asked for
    with raises(AttributeError):
        ai._private  # noqa: B018 - as above
    assert "workers.AI" in repr(ai)


@scenario
async def all_else_that_the_binding_has_is_there(house):
    await asked(house)
    log = await house.ai.gateway("production").getLog(house.ids()[0])
    assert (log.id, log.model) == (house.ids()[0], CHAT)


@scenario
async def who_asks_for_the_response_gets_it(house):
    raw = {**GATEWAY, "returnRawResponse": True}
    for options in (raw, converted(raw)):
        given, scope = await asked(house, options=options)
        assert given.status == 200
        assert plain(await given.json()) == {"response": "At the Danube.", "usage": {"tokens": 7, "cached": None}}
        thumbprint.record_feedback(given, thumbs="up")
        assert scope.last.id == house.ids()[-1]
    given, scope = await asked(house, "@test/broken", options=raw)
    assert (given.status, scope.refs) == (500, ())
    assert thumbprint.record_feedback(given, thumbs="down").outcomes[0].ref.id == house.ids()[-1]


@scenario
async def a_socket_is_left_to_who_asked_for_it(house):
    given, scope = await asked(house, options={"websocket": True})
    assert (given.status, scope.refs) == (200, ())


@scenario
async def options_can_be_named_or_objects_of_javascript(house):
    with thumbprint.scope() as scope:
        await house.ai.run(CHAT, {"prompt": "Ulm?"}, gateway={"id": "production"})
        await house.ai.run(CHAT, converted({"prompt": "Ulm?"}), converted(GATEWAY))
        options = converted({**GATEWAY, "signal": None})
        await house.ai.run(CHAT, {"prompt": "Ulm?"}, options)
        assert plain(options) == {**GATEWAY, "signal": None}
    assert [ref.id for ref in scope.refs] == house.ids()
    assert len(house.ids()) == 3


@scenario
async def a_call_begins_at_once_though_it_is_awaited_later(house):
    ai = house.ai
    first = ai.run(CHAT, {"after": 1}, GATEWAY)  # it is answered after one other
    second = ai.run(CHAT, {}, GATEWAY)
    with thumbprint.scope() as scope:
        await first
        await second
    assert [ref.id for ref in scope.refs] == house.ids()[::-1]


# what is captured


@scenario
async def three_calls_at_once_in_three_scopes_have_an_id_each_of_their_own(house):
    ai = house.ai

    async def handle(model, after):
        with thumbprint.scope() as scope:
            answer = await ai.run(model, {"prompt": "Where is Ulm?", "after": after}, GATEWAY)
        return model, answer, scope

    handled = await asyncio.gather(
        handle("@test/chat", 3), handle("@test/stream", 0), handle("@test/list", 2), handle("@test/chat", 1)
    )
    for model, answer, scope in handled:
        assert house.log(scope.last.id)["model"] == model
        if not isinstance(answer, list):
            assert thumbprint.record_feedback(answer, thumbs="up").outcomes[0].ref == scope.last
    assert {scope.last.id for _, _, scope in handled} == set(house.ids())
    assert ai.aiGatewayLogId == handled[0][2].last.id  # all that the binding itself could tell


@scenario
async def a_call_that_no_gateway_logged_is_not_captured(house):
    for options in ({}, None, {"gateway": {"id": "production", "collectLog": False}}, {"gateway": {}}):
        answer, scope = await asked(house, options=options)
        assert (plain(answer)["response"], scope.refs) == ("At the Danube.", ())
        with raises(thumbprint.UnknownTargetError):
            thumbprint.record_feedback(answer, thumbs="up")
    answer = await house.ai.run(CHAT, {"prompt": "Where is Ulm?"})
    assert plain(answer)["response"] == "At the Danube."


@scenario
async def a_log_entry_says_where_it_is_and_what_was_called(house):
    _, scope = await asked(house, messages=[{"role": "user", "content": "Where is Ulm?"}])
    assert (scope.last.backend, scope.last.id) == ("cloudflare", house.ids()[0])
    assert (scope.last.gateway_id, scope.last.account_id) == ("production", None)
    assert scope.last.operation == "chat"
    assert scope.last.captured_at > 0
    _, scope = await asked(house)
    assert scope.last.operation == "generate_content"


@scenario
async def an_embedding_is_not_what_a_thumb_is_about(house):
    with thumbprint.scope() as scope:
        await house.ai.run(CHAT, {"prompt": "Where is Ulm?"}, GATEWAY)
        await house.ai.run("@cf/baai/bge-m3", {"text": "At the Danube."}, GATEWAY)
    assert [ref.id for ref in scope.refs] == house.ids()
    assert scope.last.id == house.ids()[0]
    assert scope.refs[1].operation == "embeddings"


@scenario
async def an_answer_from_the_cache_has_a_log_entry_of_its_own(house):
    cached = {"gateway": {"id": "production", "cacheKey": "ulm"}}
    scopes = [(await asked(house, options=cached))[1] for _ in range(2)]
    assert [scope.last.id for scope in scopes] == house.ids()


@scenario
async def a_call_beside_thumbprint_costs_a_capture_but_no_answer(house):
    wrapped = house.ai.run(CHAT, {"after": 1}, GATEWAY)
    beside = house.bare(CHAT, {}, GATEWAY)
    with thumbprint.scope() as scope:
        assert plain(await wrapped)["response"] == plain(await beside)["response"] == "At the Danube."
    assert scope.refs == ()


@scenario
async def a_gateway_whose_id_cannot_be_one_is_not_captured(house):
    for gateway_id in (17, ""):
        answer, scope = await asked(house, options={"gateway": {"id": gateway_id}})
        assert plain(answer)["response"] == "At the Danube."
        assert [ref.gateway_id for ref in scope.refs] in ([], [None])


@scenario
async def arguments_that_make_no_sense_are_the_bindings_to_judge(house):
    ai = house.ai
    own = await failure(house.bare("@test/unheard-of", {}))
    given = await failure(ai.run("@test/unheard-of", {}))
    assert (given.name, given.message) == (own.name, own.message)
    assert plain(await ai.run(CHAT, {}, {}, {"one": "too many"}))["response"] == "At the Danube."


@scenario
async def a_decorated_handler_has_a_scope_with_an_id(house):
    first, second = await house.decorated(house), await house.decorated(house)
    assert first is not None
    assert len(first.id) == len(second.id) == 32
    assert first.id == first.id != second.id


# what leads to a call


@scenario
async def feedback_finds_its_call_by_the_answer(house):
    for model in ("@test/chat", "@test/stream"):
        answer, scope = await asked(house, model)
        await asked(house, model)
        receipt = await thumbprint.record_feedback(answer, thumbs="up")
        assert (receipt.status, receipt.outcomes[0].ref) == ("delivered", scope.last)
        assert house.log(scope.last.id)["feedback"] == 1
    assert [house.log(log_id).get("feedback") for log_id in house.ids()] == [1, None, 1, None]


@scenario
async def an_answer_that_has_been_through_javascript_leads_to_its_call(house):
    for model in ("@test/chat", "@test/stream", "@test/frozen"):
        answer, scope = await asked(house, model)
        holder = js.Object.new()
        holder.kept = answer
        if isinstance(answer, JsProxy):
            assert thumbprint.record_feedback(holder.kept, thumbs="up").outcomes[0].ref == scope.last


@scenario
async def feedback_finds_a_failed_call_by_its_error(house):
    with thumbprint.scope() as scope:
        error = await failure(house.ai.run("@test/refused", {}, GATEWAY))
    assert scope.refs == ()
    receipt = await thumbprint.record_feedback(error, thumbs="down", comment="It refused.")
    assert receipt.status == "delivered"
    log = house.log(house.ids()[0])
    assert (log["feedback"], json.loads(log["metadata"])) == (-1, {"comment": "It refused."})


@scenario
async def what_can_carry_nothing_is_found_by_its_scope(house):
    for model in ("@test/string", "@test/number"):
        answer, scope = await asked(house, model)
        with raises(thumbprint.UnknownTargetError):
            thumbprint.record_feedback(answer, thumbs="up")
            assert (await thumbprint.record_feedback(scope, thumbs="up")).status == "delivered"


@scenario
async def what_a_stranger_sends_leads_nowhere(house):
    _, scope = await asked(house)
    said = {"_thumbprint": json.dumps([scope.last.to_dict()])}
    answer, _ = await asked(house, "@test/echo", options={}, **said)
    for target in (answer, converted(said)):
        assert getattr(target, "_thumbprint", None) == said["_thumbprint"]
        with raises(thumbprint.UnknownTargetError):
            thumbprint.record_feedback(target, thumbs="down")


@scenario
async def a_token_leads_there_from_another_isolate(house):
    _, scope = await asked(house)
    token = scope.token()
    thumbprint._default._default = None  # nothing is known from before
    workers.configure(house.env.AI, secret=SECRET, gateway_id="another")
    with raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(scope.id, thumbs="up")
    assert (await thumbprint.record_feedback(token, thumbs="up", user_id="u-17")).status == "delivered"
    log = house.log(house.ids()[0])
    assert (log["feedback"], json.loads(log["metadata"])) == (1, {"user_id": "u-17"})


@scenario
async def a_log_entry_without_its_gateway_needs_the_setting(house):
    await asked(house)
    ref = thumbprint.LogRef(backend="cloudflare", id=house.ids()[0])
    with raises(thumbprint.MissingCredentialsError, "CLOUDFLARE_GATEWAY_ID"):
        thumbprint.record_feedback(ref, thumbs="up")
    workers.configure(house.env.AI, secret=SECRET, gateway_id="production")
    assert (await thumbprint.record_feedback(ref, thumbs="up")).status == "delivered"


# how feedback is delivered


@scenario
async def every_field_arrives_beside_what_the_log_holds(house):
    answer, _ = await asked(house, options={"gateway": {"id": "production", "metadata": {"team": "red"}}})
    receipt = await thumbprint.record_feedback(
        answer, thumbs="up", score=0.8, scores={"tone": 0.5}, comment="Grüße aus Ulm", tags=["a", "b"],
        expected={"city": "Ulm"}, metadata={"page": "/help", "nested": {"a": 1}},
    )  # fmt: skip
    assert (receipt.status, receipt.outcomes[0].unsupported) == ("delivered", ("metadata.nested",))
    log = house.log(house.ids()[0])
    assert (log["feedback"], log["score"]) == (1, 80)
    assert json.loads(log["metadata"]) == {
        "team": "red", "page": "/help", "score.tone": 0.5, "comment": "Grüße aus Ulm", "expected": '{"city": "Ulm"}',
        "tags": "a,b",
    }  # fmt: skip


@scenario
async def what_is_taken_back_arrives_as_null(house):
    answer, _ = await asked(house)
    await thumbprint.record_feedback(answer, thumbs="up", score=0.8)
    await thumbprint.record_feedback(answer, thumbs=None, score=None)
    assert house.requests()[-1]["body"] == {"feedback": 0, "score": None}


@scenario
async def waiting_feedback_for_one_log_entry_goes_out_as_one_request(house):
    answer, _ = await asked(house)
    receipts = [thumbprint.record_feedback(answer, thumbs=thumbs) for thumbs in ("up", "down", "up")]
    assert [receipt.status for receipt in receipts] == ["queued"] * 3
    await receipts[0]
    assert [receipt.status for receipt in receipts] == ["delivered"] * 3
    assert house.requests() == [
        {"method": "PATCH", "gateway": "production", "id": house.ids()[0], "body": {"feedback": 1}}
    ]


@scenario
async def many_receipts_can_be_awaited_at_once(house):
    answers = [(await asked(house))[0] for _ in range(5)]
    receipts = [thumbprint.record_feedback(answer, thumbs="up") for answer in answers]
    await asyncio.gather(*receipts)
    await asyncio.gather(*(workers.settle(receipt) for receipt in receipts))
    assert {receipt.status for receipt in receipts} == {"delivered"}
    assert len(house.requests()) == 5


@scenario
async def a_log_that_is_not_written_yet_is_tried_again(house):
    answer, scope = await asked(house)
    house.service.next("early", "early")
    receipt = await thumbprint.record_feedback(answer, thumbs="up")
    assert (receipt.status, receipt.outcomes[0].attempts) == ("queued", 1)
    assert "AiGatewayLogNotFound" in receipt.outcomes[0].reason
    assert await workers.settle(receipt) == "delivered"
    assert receipt.outcomes[0].attempts == 3
    assert house.log(scope.last.id)["feedback"] == 1


@scenario
async def a_log_that_cannot_be_read_yet_is_tried_again(house):
    answer, scope = await asked(house)
    house.service.next("early")
    receipt = thumbprint.record_feedback(answer, comment="Spot on.")
    assert (await workers.settle(receipt), receipt.outcomes[0].attempts) == ("delivered", 2)
    assert json.loads(house.log(scope.last.id)["metadata"]) == {"comment": "Spot on."}


@scenario
async def a_gateway_that_fails_is_tried_again(house):
    answer, _ = await asked(house)
    house.service.next("Internal Error")
    receipt = await thumbprint.record_feedback(answer, thumbs="up")
    assert (receipt.status, receipt.outcomes[0].attempts) == ("queued", 1)
    assert "Internal Error" in receipt.outcomes[0].reason
    assert await workers.settle(receipt) == "delivered"


@scenario
async def what_one_receipt_left_behind_goes_with_the_next(house):
    first, _ = await asked(house)
    second, _ = await asked(house)
    house.service.next("early")
    early = await thumbprint.record_feedback(first, thumbs="up")
    assert early.status == "queued"
    await asyncio.sleep(0.6)  # by then it is due again
    await thumbprint.record_feedback(second, thumbs="down")
    assert early.status == "delivered"
    assert [house.log(log_id)["feedback"] for log_id in house.ids()] == [1, -1]


@scenario
async def settling_ends_when_its_time_is_over(house):
    answer, _ = await asked(house)
    house.service.next(*["early"] * 100)
    assert await workers.settle(thumbprint.record_feedback(answer, thumbs="up"), timeout=0.1) == "queued"


@scenario
async def an_answer_that_does_not_come_is_given_up(house):
    answer, _ = await asked(house)
    house.service.next("hang")
    default = workers.configure(house.env.AI, secret=SECRET)
    receipt = thumbprint.record_feedback(answer, thumbs="up")
    await default._worker.deliver_awaited(["cloudflare"], 0.1)
    assert (receipt.status, receipt.outcomes[0].attempts) == ("queued", 1)
    assert receipt.outcomes[0].reason == "there was no answer in time"
    assert await workers.settle(receipt) == "delivered"


@scenario
async def who_gives_up_waiting_costs_no_attempt_and_holds_up_nobody(house):
    answer, _ = await asked(house)
    house.service.next("hang")
    receipt = thumbprint.record_feedback(answer, thumbs="up")
    with raises(TimeoutError):
        await asyncio.wait_for(receipt, 0.1)
    assert (receipt.status, receipt.outcomes[0].attempts) == ("queued", 0)
    assert (await receipt).status == "delivered"
    assert receipt.outcomes[0].attempts == 1


@scenario
async def nothing_that_waits_hangs(house):
    answer, _ = await asked(house)
    receipt = thumbprint.record_feedback(answer, thumbs="up")
    assert receipt.wait().status == receipt.wait(timeout=3600).status == "queued"
    assert thumbprint.flush().remaining == 1
    assert thumbprint.flush(timeout=None).remaining == 1
    assert thumbprint.shutdown(timeout=None).remaining == 1
    [verification] = receipt.verify()
    assert (verification.status, verification.reason) == ("unknown", "cloudflare cannot be asked what it holds")
    assert (await receipt).status == "delivered"
    assert thumbprint.flush().remaining == 0


@scenario
async def no_thread_is_started_and_no_http_library_imported(house):
    before = threading.active_count()
    answer, _ = await asked(house)
    await thumbprint.record_feedback(answer, thumbs="up", comment="Spot on.")
    assert threading.active_count() == before
    assert house.loaded & {"httpx", "openai", "redis", "sqlite3"} == set()
    assert "thumbprint.workers" in sys.modules


# settings


@scenario
async def configuring_again_with_the_same_changes_nothing(house):
    first = workers.configure(house.env.AI, secret=SECRET)
    assert workers.configure(house.env.AI, secret=SECRET) is first
    assert workers.configure(house.ai, secret=SECRET) is first
    assert workers.configure(house.env.AI, secret="another secret of the Worker's") is not first
    second = workers.configure(house.env.AI, secret=SECRET)
    assert second is not first
    thumbprint.configure(backends=[workers.AIGateway(house.env.AI)], delivery="inline")
    assert workers.configure(house.env.AI, secret=SECRET) is not second


@scenario
async def what_waits_is_not_lost_when_the_settings_change(house):
    answer, _ = await asked(house)
    receipt = thumbprint.record_feedback(answer, thumbs="up")
    workers.configure(house.env.AI, secret="another secret of the Worker's")
    later, _ = await asked(house)
    await thumbprint.record_feedback(later, thumbs="up")
    assert receipt.status == "delivered"


@scenario
async def a_thumbprint_of_ones_own_captures_and_delivers(house):
    own = thumbprint.Thumbprint(backends=[workers.AIGateway(house.env.AI)], delivery="inline")
    answer = await workers.wrap(house.env.AI, thumbprint=own).run(CHAT, {"prompt": "Where is Ulm?"}, GATEWAY)
    assert (await own.record_feedback(answer, thumbs="up")).status == "delivered"
    assert house.log(house.ids()[0])["feedback"] == 1


@scenario
async def disabled_it_captures_nothing_and_the_answers_are_the_same(house):
    workers.configure(house.env.AI, disabled=True)
    for model in ("@test/chat", "@test/list"):
        answer, scope = await asked(house, model)
        assert plain(answer) == plain(await house.bare(model, {}, GATEWAY))
        assert scope.refs == ()
    assert await workers.settle(thumbprint.record_feedback(answer, thumbs="up")) == "dropped"
    assert house.requests() == []


@scenario
async def wrapping_twice_is_wrapping_once(house):
    ai = house.ai
    assert workers.wrap(ai) is ai
    own = thumbprint.Thumbprint(backends=[workers.AIGateway(house.env.AI)], delivery="inline")
    again = workers.wrap(ai, thumbprint=own)
    assert again is not ai
    answer = await again.run(CHAT, {}, GATEWAY)
    assert len(house.ids()) == 1
    assert (await own.record_feedback(answer, thumbs="up")).status == "delivered"


@scenario
async def what_is_no_binding_is_refused(house):
    for nothing in (None, 17, "AI", object(), type(house.ai)):
        with raises(thumbprint.UnsupportedClientError, "env.AI"):
            workers.wrap(nothing)
