"""Ten thousand hostile inputs: no 500, no exception out of the middleware or the endpoint, no vote counted."""

from __future__ import annotations

import asyncio
import json
import string
from urllib.parse import urlencode

import pytest
import web_clients
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import thumbprint
from thumbprint.web import _headers, asgi, wsgi

pytestmark = pytest.mark.long

REF = thumbprint.LogRef(backend="cloudflare", id="01JADMCQQQBWH3NXZ5GCRN98DP", account_id="a", gateway_id="g")
REFUSED = {400, 403, 404, 405, 410, 413, 415, 429}

hostile = settings(
    max_examples=1000,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

latin = st.text(st.characters(max_codepoint=255), max_size=60)
words = st.sampled_from(["token", "thumbs", "score", "scores", "comment", "expected", "tags", "metadata", "user_id"])
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("up")
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))
kinds = st.sampled_from(
    ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain", ""]
)
headers = st.lists(
    st.tuples(st.sampled_from(["accept", "origin", "content-encoding", "content-length", "x-request-id"]), latin),
    max_size=3,
    unique_by=lambda pair: pair[0],
)
bodies = (
    st.binary(max_size=300)
    | latin.map(lambda text: text.encode())
    | values.map(lambda value: json.dumps(value).encode())
    | st.lists(st.tuples(words, latin), max_size=4).map(lambda pairs: urlencode(pairs).encode())
    | st.lists(st.tuples(words, latin), max_size=4).map(
        lambda pairs: (
            "".join(
                f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in pairs
            ).encode()
            + b"--b--\r\n"
        )
    )
)
SIDES = {"asgi": (asgi, web_clients.through_asgi), "wsgi": (wsgi, web_clients.through_wsgi)}


@pytest.fixture(params=SIDES)
def calls(request, emulator, secret):
    """Return how the endpoint behind the middleware is called; in the end nothing must have been recorded."""
    module, call = SIDES[request.param]
    thumbprint.configure(delivery="background")
    app = module.ThumbprintMiddleware(
        module.FeedbackEndpoint(allow_origins=["https://a.example"], per_minute=6000), trust_header="x-request-id"
    )
    yield lambda method, **told: call(app, method, **told)
    flushed = thumbprint.flush(5)
    assert (flushed.delivered, flushed.remaining, flushed.failed, flushed.dropped) == (0, 0, 0, 0)


def test_any_body_is_refused(calls):
    @hostile
    @given(method=st.just("POST"), kind=kinds, more=headers, body=bodies)
    def refused(method, kind, more, body):
        got = calls(method, headers=[("content-type", kind), *more], body=body)
        assert got.status in REFUSED
        assert got.headers["content-type"] in {"application/problem+json", "text/html; charset=utf-8"}

    refused()


def test_any_field_with_a_signed_token_is_refused_where_the_token_does_not_allow_it(calls):
    token = thumbprint.token_for(thumbprint.scope(id="nobody's"), allow=("tags",))

    @hostile
    @given(fields=st.dictionaries(words, values, max_size=5))
    def refused(fields):
        body = json.dumps({**fields, "token": token}).encode()
        got = calls("POST", headers=[("content-type", "application/json")], body=body)
        assert got.status in REFUSED

    refused()


def test_any_change_to_a_token_is_refused(calls):
    token = thumbprint.token_for(REF)

    @hostile
    @given(place=st.integers(0, len(token) - 1), letter=st.sampled_from(string.printable + "\u00e9\ud800\x00"))
    def refused(place, letter):
        changed = token[:place] + letter + token[place + 1 :]
        if changed != token:
            body = json.dumps({"token": changed, "thumbs": "up"}).encode()
            got = calls("POST", headers=[("content-type", "application/json")], body=body)
            assert got.status in {400, 403}

    refused()


def test_any_link_shows_a_page_or_a_refusal_and_counts_nothing(calls):
    token = thumbprint.token_for(REF)

    @hostile
    @given(query=latin | st.lists(st.tuples(words, latin | st.just(token)), max_size=4).map(urlencode), more=headers)
    def shown(query, more):
        got = calls("GET", query=query, headers=more)
        assert got.status in {200, *REFUSED}
        if got.headers["content-type"].startswith("text/html"):
            assert b"<script" not in got.body

    shown()


def test_any_method_is_answered(calls):
    @hostile
    @given(method=st.text(string.ascii_letters + "!#-", min_size=1, max_size=12).filter(lambda word: word != "POST"))
    def answered(method):
        assert calls(method).status in {204, 400, 405}

    answered()


def test_no_inbound_header_gets_into_the_response_as_another_header(secret):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    wrapped = asgi.ThumbprintMiddleware(app, trust_header="x-request-id")

    @hostile
    @given(given_id=st.text(st.characters(max_codepoint=255), max_size=300))
    def harmless(given_id):
        sent, _ = asyncio.run(web_clients.asgi_call(wrapped, headers=[("x-request-id", given_id)]))
        told = dict(sent[0]["headers"])[b"x-feedback-id"].decode("ascii")
        assert told.isprintable()
        assert told == given_id or len(told) == 32

    harmless()


@hostile
@given(value=latin)
def test_whatever_is_exposed_already_stays_so(value):
    told = _headers.exposing_ours(value)
    assert told == value or (value.strip() == "" or told.startswith(value))
    assert "*" in told or {"x-feedback-id", "x-feedback-token"} <= {name.strip().lower() for name in told.split(",")}
