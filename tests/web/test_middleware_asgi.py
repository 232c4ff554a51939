"""The ASGI middleware, called in odd ways by the protocol itself."""

from __future__ import annotations

import asyncio

import pytest
import web_clients

import thumbprint
from thumbprint import _log
from thumbprint.errors import ArgumentTypeError, ArgumentValueError
from thumbprint.web import _headers, _visits
from thumbprint.web.asgi import ThumbprintMiddleware

EXPOSED = (b"access-control-expose-headers", b"x-feedback-id, x-feedback-token")
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
LAST = {"type": "http.response.body", "body": b"", "more_body": False}


def sending(*messages):
    """Return an app that sends these messages, and keeps the ids of the scopes in which it did."""

    async def app(scope, receive, send):
        for message in messages:
            app.ids.append(thumbprint.current_scope().id)
            await send(message)

    app.ids = []
    return app


def called(app, *, headers=(), scope=None, **settings):
    sent, _ = asyncio.run(web_clients.asgi_call(ThumbprintMiddleware(app, **settings), headers=headers, scope=scope))
    return sent


def id_of(sent):
    return dict(sent[0]["headers"])[b"x-feedback-id"].decode()


def test_a_response_tells_the_id_of_its_scope():
    app = sending(START, LAST)
    sent = called(app)
    assert [id_of(sent)] * 2 == app.ids
    assert sent[0]["headers"] == [*START["headers"], (b"x-feedback-id", app.ids[0].encode()), EXPOSED]
    assert START["headers"] == [(b"content-type", b"text/plain")]  # what the application sent is left as it was
    assert thumbprint.current_scope() is None
    assert id_of(called(app)) != app.ids[0]


def test_with_a_secret_it_carries_a_token(secret):
    sent = called(sending(START, LAST))
    token = dict(sent[0]["headers"])[b"x-feedback-token"].decode()
    assert thumbprint._default._get().granted(token).scope_id == id_of(sent)


def test_the_token_names_the_log_entry_if_the_model_was_called_before_the_headers_left(client):
    async def app(scope, receive, send):
        client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "?"}])
        app.refs = thumbprint.current_scope().refs
        await send(START)

    token = dict(called(app, allow=("thumbs",), expires_in=60)[0]["headers"])[b"x-feedback-token"].decode()
    grant = thumbprint._default._get().granted(token)
    assert [ref.id for ref in grant.refs] == [ref.id for ref in app.refs]
    assert grant.allow == ("thumbs",)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"x-a", b"x-a, x-feedback-id, x-feedback-token"),
        (b"X-Feedback-Id,x-a", b"X-Feedback-Id,x-a, x-feedback-token"),
        (b"x-feedback-token,x-feedback-id", b"x-feedback-token,x-feedback-id"),
        (b"*", b"*"),
        (b"", b"x-feedback-id, x-feedback-token"),
    ],
)
def test_what_other_origins_may_read_is_extended(said, told):
    start = START | {"headers": [(b"Access-Control-Expose-Headers", said)]}
    assert called(sending(start))[0]["headers"][0] == (b"Access-Control-Expose-Headers", told)


def test_a_header_that_the_application_set_is_left_alone(secret):
    start = START | {"headers": iter([(b"X-Feedback-ID", b"mine")])}
    headers = called(sending(start))[0]["headers"]
    assert [name.lower() for name, _ in headers] == [b"x-feedback-id", b"x-feedback-token", EXPOSED[0]]
    assert headers[0] == (b"X-Feedback-ID", b"mine")


def test_other_messages_pass_as_the_same_objects():
    messages = [
        {"type": "http.response.debug", "info": {}},
        {"type": "http.response.body", "body": b"a" * 10, "more_body": True},
        {"type": "http.response.pathsend", "path": "/f"},
        {"type": "http.response.zerocopysend", "file": 3},
        {"type": "http.response.trailers", "headers": [(b"x", b"y")]},
    ]
    assert all(sent is message for sent, message in zip(called(sending(*messages)), messages, strict=True))


@pytest.mark.parametrize("headers", [None, 5, [b"abc"], [(b"a",)], [(1, 2)]])
def test_headers_that_are_none_pass_for_the_server_to_judge(headers, caplog):
    start = START | {"headers": headers}
    assert called(sending(start)) == [start]
    assert "leaves without our headers" in caplog.text


def test_a_start_without_headers_gets_ours():
    assert called(sending({"type": "http.response.start", "status": 204}))[0]["headers"][-1] == EXPOSED


def test_a_second_start_passes_on():
    assert [message["type"] for message in called(sending(START, START))] == ["http.response.start"] * 2


def test_an_exception_passes_through_and_the_scope_is_left():
    async def app(scope, receive, send):
        raise KeyError("the application's own")

    with pytest.raises(KeyError, match="own"):
        called(app)
    assert thumbprint.current_scope() is None


def test_a_lifespan_passes_through_as_it_is():
    async def app(scope, receive, send):
        app.given = (scope, receive, send, thumbprint.current_scope())

    async def channel():
        pass

    scope = {"type": "lifespan"}
    asyncio.run(ThumbprintMiddleware(app)(scope, channel, channel))
    assert app.given == (scope, channel, channel, None)


def test_a_websocket_has_a_scope_for_the_whole_connection():
    accept = {"type": "websocket.accept", "headers": []}
    app = sending(accept, {"type": "websocket.send", "text": "a"}, {"type": "websocket.close"})
    sent = called(app, scope={"type": "websocket"})
    assert sent[0] is accept
    assert len(set(app.ids)) == 1


# ids from outside


@pytest.mark.parametrize("given", ["m-1", "a" * 256, "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66", "~!+/="])
def test_a_trusted_header_gives_the_id(given):
    app = sending(START)
    assert id_of(called(app, headers=[("X-Request-ID", given)], trust_header="X-Request-Id")) == given == app.ids[0]


@pytest.mark.parametrize("given", [[], [""], ["a b"], ["a,b"], ["a" * 257], ["a\r\nb"], ["ä"], ["\x00"], ["a", "b"]])
def test_an_id_that_is_none_is_passed_over(given):
    headers = [("X-Request-ID", value) for value in given]
    assert len(id_of(called(sending(START), headers=headers, trust_header="x-request-id"))) == 32


def test_no_inbound_header_is_trusted_unasked():
    assert id_of(called(sending(START), headers=[("X-Feedback-Id", "m-1"), ("X-Request-Id", "m-1")])) != "m-1"


@pytest.mark.parametrize("trusted", [True, False])
def test_a_predicate_decides_whether_to_trust(trusted):
    asked = []

    def trust_if(scope):
        asked.append(scope["client"][0])
        return trusted

    sent = called(sending(START), headers=[("X-Id", "m-1")], trust_header="x-id", trust_if=trust_if)
    assert (id_of(sent) == "m-1") is trusted
    assert asked == ["127.0.0.1"]


def test_a_predicate_that_fails_costs_the_request_its_scope_and_no_more(caplog):
    async def app(scope, receive, send):
        assert thumbprint.current_scope() is None
        await send(START)

    assert called(app, trust_header="x-id", trust_if=lambda scope: 1 / 0) == [START]
    assert "a request has no scope" in caplog.text


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"trust_header": "a b"}, ArgumentValueError),
        ({"trust_header": ""}, ArgumentValueError),
        ({"trust_header": True}, ArgumentValueError),
        ({"trust_if": lambda scope: True}, ArgumentTypeError),
        ({"trust_header": "a", "trust_if": "b"}, ArgumentTypeError),
        ({"allow": ("likes",)}, ArgumentValueError),
        ({"expires_in": 0}, ArgumentValueError),
    ],
)
def test_unusable_settings_are_refused_at_once(settings, error):
    with pytest.raises(error):
        ThumbprintMiddleware(sending(), **settings)


def test_without_a_secret_there_is_no_token_and_one_line_in_the_log_says_so(caplog):
    middleware = ThumbprintMiddleware(sending(START, LAST))
    for _ in range(2):
        sent, _ = asyncio.run(web_clients.asgi_call(middleware))
        assert [name for name, _ in sent[0]["headers"][1:]] == [b"x-feedback-id", EXPOSED[0]]
        _log.forget()  # as after a minute
    [line] = caplog.records
    assert (line.name, line.levelname) == ("thumbprint", "WARNING")
    assert line.getMessage().startswith("responses leave without a feedback token: ")
    assert "set THUMBPRINT_SECRET" in line.getMessage()


def test_an_environment_that_cannot_be_used_costs_the_token_and_no_more(monkeypatch, caplog):
    monkeypatch.setenv("THUMBPRINT_STORE", "nonsense://")
    assert dict(called(sending(START))[0]["headers"]).keys() >= {b"x-feedback-id", EXPOSED[0]}
    assert "leaves without a feedback token" in caplog.text


def test_the_names_stand_in_one_place():
    assert _headers.EXPOSED == "x-feedback-id, x-feedback-token"
    assert _visits.KIND == "web"
