"""The feedback endpoint: what it takes, what it refuses and with which words, the same by ASGI and by WSGI."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
import sdk
import web_clients

import thumbprint
from thumbprint.errors import ArgumentTypeError, ArgumentValueError, FeedbackRefusedError, StoreError
from thumbprint.stores import MemoryStore, memory
from thumbprint.web import _fields, _recent, asgi, wsgi

JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
HTML = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
REF = thumbprint.LogRef(backend="cloudflare", id="01JADMCQQQBWH3NXZ5GCRN98DP", account_id="a", gateway_id="g")


class Side:
    """One of the two protocols: its endpoint, and how it is called."""

    def __init__(self, module, call):
        self._module, self._call = module, call
        self.app = None

    def serve(self, **settings):
        self.app = self._module.FeedbackEndpoint(**settings)
        return self

    def __call__(self, method="POST", **request):
        return self._call(self.app, method, **request)

    def say(self, *more, **fields):
        return self(headers=[JSON, *more], body=json.dumps(fields).encode())

    def fill_in(self, *more, **fields):
        return self(headers=[FORM, *more], body=urlencode(fields).encode())


@pytest.fixture(params=["asgi", "wsgi"])
def endpoint(request, emulator, secret):
    sides = {"asgi": (asgi, web_clients.through_asgi), "wsgi": (wsgi, web_clients.through_wsgi)}
    return Side(*sides[request.param]).serve()


@pytest.fixture
def token(client):
    return thumbprint.token_for(answered(client))


def answered(client):
    return client.chat.completions.create(model="gpt-5", messages=sdk.asked())


def votes(emulator):
    assert thumbprint.flush(20).remaining == 0
    return [(log["feedback"], log["score"]) for log in emulator.cloudflare_logs()]


def is_problem(got, status, detail):
    """Assert that a refusal is the one of RFC 9457 with these words."""
    assert got.status == status
    assert got.headers["content-type"] == "application/problem+json"
    title = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 410: "Gone",
             413: "Request Entity Too Large", 415: "Unsupported Media Type", 429: "Too Many Requests",
             451: "Unavailable For Legal Reasons", 499: "Refused", 500: "Internal Server Error",
             503: "Service Unavailable"}  # fmt: skip
    found = got.document
    if status == 413:  # renamed in Python 3.13
        assert found["title"] in {title[413], "Content Too Large"}
        found["title"] = title[413]
    assert re.search(detail, found["detail"]), found["detail"]
    assert found == {"type": "about:blank", "title": title[status], "status": status, "detail": found["detail"]}
    assert int(got.headers["content-length"]) == len(got.body)


# what it takes


def test_json_is_taken_and_lands_on_the_log_entry(endpoint, emulator, token):
    got = endpoint.say(token=token, thumbs="down", score=0.25, comment="wrong city")
    assert got.status == 202
    assert got.headers["content-type"] == "application/json"
    assert re.fullmatch("[0-9a-f]{32}", got.document["id"])
    assert set(got.document) == {"id", "status"}
    assert got.document["status"] in {"queued", "delivered"}  # by then delivery may have been faster
    assert votes(emulator) == [(-1, 25)]
    assert emulator.cloudflare_logs()[0]["metadata"]["comment"] == "wrong city"


@pytest.mark.parametrize(
    ("said", "feedback"),
    [({"thumbs": "up"}, 1), ({"thumbs": "-1"}, -1), ({"thumbs": "true"}, 1), ({"thumbs": "false"}, -1)],
)
def test_a_form_is_taken(endpoint, emulator, token, said, feedback):
    got = endpoint.fill_in(token=token, score="0.5", comment="", **said)
    assert (got.status, set(got.document)) == (202, {"id", "status"})
    assert votes(emulator) == [(feedback, 50)]


def test_the_ends_of_lines_of_a_form_are_plain(endpoint, emulator, token):
    assert endpoint.fill_in(token=token, comment="a\r\nb").status == 202
    votes(emulator)
    assert emulator.cloudflare_logs()[0]["metadata"]["comment"] == "a\nb"


def multipart(*parts, boundary="xYz", end="--"):
    return "".join(f"--{boundary}\r\n{part}\r\n" for part in parts).encode() + f"--{boundary}{end}\r\n".encode()


def field(name, value, *lines):
    return "\r\n".join([f'Content-Disposition: form-data; name="{name}"', *lines, "", value])


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=xYz", 'Multipart/Form-Data; boundary="xYz"'])
def test_a_multipart_form_is_taken(endpoint, emulator, token, kind):
    body = multipart(field("token", token), field("thumbs", "down", "Content-Type: text/plain; charset=utf-8"))
    assert endpoint(headers=[("Content-Type", kind)], body=body).status == 202
    assert votes(emulator) == [(-1, None)]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", multipart(field("token", "t"))),
        ("multipart/form-data; boundary=other", multipart(field("token", "t"))),
        ("multipart/form-data; boundary=xYz", b""),
        ("multipart/form-data; boundary=xYz", multipart(field("token", "t"), end="")),
        ("multipart/form-data; boundary=xYz", multipart("no header")),
        ("multipart/form-data; boundary=xYz", multipart(field('f"; filename="g', "c"))),
        ("multipart/form-data; boundary=xYz", multipart(field("token", "t", "Content-Transfer-Encoding: base64"))),
        ("multipart/form-data; boundary=xYz", multipart(*[field(f"f{n}", "v") for n in range(40)])),
        ("multipart/form-data; boundary=xYz", multipart(field("token", "t"), field("token", "t"))),
    ],
)  # fmt: skip
def test_a_multipart_form_that_is_broken_or_holds_files_is_refused(endpoint, kind, body):
    is_problem(endpoint(headers=[("Content-Type", kind)], body=body), 400, "boundary|no form|no text field|twice")


def test_a_vote_is_taken_back_by_null(endpoint, emulator, token):
    assert endpoint.say(token=token, thumbs="up").status == 202
    assert endpoint.say(token=token, thumbs=None).status == 202
    assert votes(emulator) == [(0, None)]


def test_a_token_of_a_scope_leads_to_what_it_captured_later(endpoint, emulator, client):
    with thumbprint.scope() as scope:
        token = scope.token()
        answered(client)
    assert endpoint.say(token=token, thumbs="up").status == 202
    assert votes(emulator) == [(1, None)]


def test_the_same_words_at_once_count_once_and_another_word_between_counts(endpoint, emulator, token):
    first = endpoint.say(token=token, comment="twice")
    again = endpoint.say(token=token, comment="twice")
    other = endpoint.say(token=token, comment="other")
    back = endpoint.say(token=token, comment="twice")
    assert first.document["id"] == again.document["id"]
    assert len({got.document["id"] for got in (first, other, back)}) == 3
    votes(emulator)


def test_a_thumbprint_of_ones_own_takes_what_it_signed(endpoint, emulator):
    own = thumbprint.Thumbprint(secret="quite another secret of the tests and long enough")
    endpoint.serve(thumbprint=own)
    got = endpoint.say(token=thumbprint.token_for(REF), thumbs="up")
    is_problem(got, 403, "signature is wrong")
    assert endpoint.say(token=own.token_for(REF), thumbs="up").status == 202
    own.close(0)


# what it refuses


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[]", "send a JSON object"),
        (b"\xff", "not UTF-8"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b"[" * 16_000, "no JSON"),
        (b'{"score": NaN}', "NaN is no number"),
        (b'{"score": -Infinity}', "-Infinity is no number"),
        (b'{"score": ' + b"9" * 5000 + b"}", "no JSON"),
        (b'{"score": 1, "score": 1}', "'score' is said twice"),
        (b'{"expected": {"a": 1, "a": 2}}', "'a' is said twice"),
        (b'{"likes": 1}', "'likes' is no field"),
        (b"{}", "give a token"),
        (b'{"token": ""}', "give a token"),
        (b'{"token": 5}', "give a token"),
        (b'{"token": "x"}', "this is no token"),
        (b'{"token": "\\ud800"}', "this is no token"),
        (b'{"token": "tp9.a.b"}', "version 9"),
    ],
)
def test_malformed_json_is_refused(endpoint, body, detail):
    is_problem(endpoint(headers=[JSON], body=body), 400, detail)


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({}, "says nothing"),
        ({"comment": None}, "says nothing"),
        ({"thumbs": 0}, "thumbs=0: 0 is ambiguous"),
        ({"thumbs": []}, "thumbs"),
        ({"thumbs": 1e300}, "thumbs"),
        ({"score": "1"}, "score"),
        ({"score": 10**400}, "score"),
        ({"score": True}, "score"),
        ({"comment": 7}, "comment"),
        ({"comment": "\ud800"}, "comment"),
        ({"tags": "a"}, "tags"),
        ({"expected": json.loads("[" * 101 + "]" * 101)}, "expected.*nested too deeply"),
    ],
)
def test_fields_of_the_wrong_kind_are_refused(endpoint, token, fields, detail):
    is_problem(endpoint.say(token=token, **fields), 400, detail)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "give a token"),
        (b"token", "no form"),
        (b"token=%ff", "no form"),
        (b"token=\xff", "not UTF-8"),
        (b"token=a&token=b", "'token' is said twice"),
        (b"token=a&tags=b", "'tags' is no field"),
        (b"token=a&score=nan", "score: it must be"),
        (b"token=a&score=1e-2", "score: it must be"),
        (b"&".join(b"a%d=1" % n for n in range(50)), "no form"),
    ],
)
def test_a_malformed_form_is_refused(endpoint, body, detail):
    is_problem(endpoint(headers=[FORM], body=body), 400, detail)


def test_a_changed_token_is_refused(endpoint, token):
    is_problem(endpoint.say(token=token[:-2] + ("AA" if token[-2:] != "AA" else "BB"), thumbs="up"), 403, "signature")


@pytest.mark.parametrize("field", ["expected", "score"])
def test_a_field_that_the_token_does_not_allow_is_refused(endpoint, field):
    token = thumbprint.token_for(REF, allow=("thumbs",))
    is_problem(endpoint.say(token=token, thumbs="up", **{field: 1}), 403, f"allows thumbs, and not {field}")


@pytest.mark.parametrize("field", ["user_id", "source"])
def test_who_speaks_is_for_the_server_to_say(endpoint, field):
    got = endpoint.say(token=thumbprint.token_for(REF), thumbs="up", **{field: "app"})
    is_problem(got, 403, f"{field} is for the server")


def test_an_expired_token_is_refused(endpoint, monkeypatch):
    token = thumbprint.token_for(REF, expires_in=1)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    is_problem(endpoint.say(token=token, thumbs="up"), 410, "expired 5[89] seconds ago")


def test_a_target_that_is_not_known_is_not_found(endpoint):
    is_problem(endpoint.say(token=thumbprint.scope(id="nobody").token(), thumbs="up"), 404, "'nobody'")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "BREW"])
def test_other_methods_are_refused(endpoint, method):
    got = endpoint(method)
    is_problem(got, 405, "GET, HEAD, OPTIONS, POST")
    assert got.headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Content-Type", "text/plain")],
        [("Content-Type", "application/json; charset=latin-1")],
        [JSON, ("Content-Encoding", "gzip")],
    ],
)
def test_bodies_of_other_kinds_are_refused(endpoint, headers):
    is_problem(endpoint(headers=headers, body=b"{}"), 415, "send application/json|compressed")


def test_a_body_over_16_kib_is_refused(endpoint):
    is_problem(endpoint(headers=[JSON], body=b" " * 16_385), 413, "16384 bytes")
    is_problem(endpoint(headers=[JSON], body=b" " * 16_384), 400, "no JSON")


@pytest.mark.parametrize(
    ("length", "status", "detail"),
    [("7", 400, "7 bytes"), ("x", 400, "Content-Length"), ("-1", 400, "Content-Length"), ("9" * 30, 413, "16384")],
)
def test_a_length_that_is_not_the_bodys_is_refused(endpoint, length, status, detail):
    is_problem(endpoint(headers=[JSON, ("Content-Length", length)], body=b"{}"), status, detail)


def test_a_token_that_speaks_too_often_has_to_wait(endpoint):
    endpoint.serve(per_minute=2)
    token, other = thumbprint.token_for(REF), thumbprint.token_for(REF, allow=("thumbs",))
    assert [endpoint.say(token=token, thumbs=thumb).status for thumb in ("up", "down")] == [202, 202]
    got = endpoint.say(token=token, thumbs="up")
    is_problem(got, 429, "wait (29|30) s")
    assert got.headers["retry-after"] in {"29", "30"}
    assert endpoint.say(token=other, thumbs="up").status == 202


@pytest.mark.parametrize("per_minute", [0, -1, 6001])
def test_a_limit_has_bounds(endpoint, per_minute):
    with pytest.raises(ArgumentValueError, match="per_minute"):
        endpoint.serve(per_minute=per_minute)
    with pytest.raises(ArgumentTypeError, match="per_minute"):
        endpoint.serve(per_minute="5")


def test_without_a_secret_the_server_is_to_blame(endpoint, monkeypatch, caplog):
    token = thumbprint.token_for(REF)
    monkeypatch.delenv("THUMBPRINT_SECRET")
    thumbprint.configure()
    is_problem(endpoint.say(token=token, thumbs="up"), 500, "not set up on this server")
    assert "THUMBPRINT_SECRET" in caplog.text


def test_a_store_that_cannot_be_opened_is_for_later(endpoint, monkeypatch, tmp_path):
    monkeypatch.setenv("THUMBPRINT_STORE", f"sqlite:///{tmp_path}")
    is_problem(endpoint.say(token="tp1.a.b", thumbs="up"), 503, "try again later")


def test_feedback_that_could_not_be_kept_is_not_said_to_be_taken(endpoint):
    own = thumbprint.Thumbprint()
    token = own.token_for(REF)
    own.close(0)
    endpoint.serve(thumbprint=own)
    is_problem(endpoint.say(token=token, thumbs="up"), 503, "try again later")


def test_what_no_service_can_hold_is_taken_and_dropped(endpoint):
    token = thumbprint.token_for(REF, allow=("metadata",))
    got = endpoint.say(token=token, metadata={"a": {"nested": 1}})
    assert (got.status, got.document["status"]) == (202, "dropped")


def test_what_is_disabled_takes_feedback_and_drops_it(endpoint, monkeypatch):
    token = thumbprint.token_for(REF)
    monkeypatch.setenv("THUMBPRINT_DISABLED", "1")
    thumbprint.configure()
    got = endpoint.say(token=token, thumbs="up")
    assert (got.status, got.document["status"]) == (202, "dropped")


# the page


def test_a_link_asks_for_confirmation_and_counts_nothing(endpoint, emulator, token):
    got = endpoint("GET", query=urlencode({"token": token, "thumbs": "down", "utm_source": "mail"}), headers=[HTML])
    page = got.body.decode()
    assert got.status == 200
    assert re.search(r'value="down" checked', page)
    assert "checked" not in re.search(r'value="up"[^>]*', page)[0]
    assert f'<input type="hidden" name="token" value="{token}">' in page
    assert {"cache-control": "no-store", "referrer-policy": "no-referrer", "x-robots-tag": "noindex",
            "x-content-type-options": "nosniff"}.items() <= got.headers.items()  # fmt: skip
    assert "default-src 'none'" in got.headers["content-security-policy"]
    assert "script" not in page
    assert votes(emulator) == [(None, None)]


def test_what_the_page_sends_is_thanked_for(endpoint, emulator, token):
    got = endpoint.fill_in(HTML, token=token, thumbs="up", comment="")
    assert (got.status, got.headers["location"], got.body) == (303, "?thanks=1", b"")
    thanks = endpoint("GET", query="thanks=1", headers=[HTML])
    assert thanks.status == 200
    assert b"Thank you" in thanks.body
    assert votes(emulator) == [(1, None)]


def test_a_browser_is_shown_a_refusal_as_a_page(endpoint):
    got = endpoint("GET", query="token=%3Cscript%3E", headers=[HTML])
    assert (got.status, got.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert b"Bad Request" in got.body
    assert b"<script" not in got.body


@pytest.mark.parametrize(
    ("refusal", "status", "title"),
    [
        (lambda: "x", 400, "Your feedback was not taken"),
        (lambda: thumbprint.token_for(REF)[:-2] + "__", 403, "This link cannot be used"),
        (lambda: thumbprint.token_for(REF, expires_in=0.001), 410, "This link has expired"),
    ],
)
def test_a_refusal_is_told_for_people_too(endpoint, monkeypatch, refusal, status, title):
    query = urlencode({"token": refusal()})
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2)
    got = endpoint("GET", query=query, headers=[HTML])
    page = got.body.decode()
    assert got.status == status
    assert f"<title>{title}</title>" in page
    assert f"<h1>{title}</h1>" in page
    assert re.search(f'class="detail">{status} [A-Z].*: .*token', page)
    assert {"cache-control": "no-store", "referrer-policy": "no-referrer", "x-frame-options": "DENY"}.items() <= (
        got.headers.items()
    )


def test_what_the_application_refuses_is_shown_in_its_own_words(endpoint, token):
    def on_feedback(request, feedback):
        raise FeedbackRefusedError("members <only>", status=410)

    endpoint.serve(on_feedback=on_feedback)
    got = endpoint.fill_in(HTML, token=token, thumbs="up")
    assert got.status == 410
    assert b"<h1>Your feedback was not taken</h1><p>members &lt;only&gt;</p>" in got.body


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
        ("TEXT/HTML; charset=utf-8; Q=0.5", "text/html; charset=utf-8"),
        ("text/html, application/json", "text/html; charset=utf-8"),
        ("text/html; q=high", "text/html; charset=utf-8"),
        ("text/html;q=0", "application/problem+json"),
        ("application/json, text/html;q=0.9", "application/problem+json"),
        ("application/problem+json;q=0.6, text/html;q=0.5", "application/problem+json"),
        ("application/problem+json", "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("", "application/problem+json"),
    ],
)
def test_a_refusal_is_a_page_for_those_who_would_rather_have_one(endpoint, accept, kind):
    got = endpoint("GET", headers=[("Accept", accept)])
    assert (got.status, got.headers["content-type"]) == (400, kind)


def test_a_link_without_a_usable_token_is_refused(endpoint):
    is_problem(endpoint("GET"), 400, "give a token")
    is_problem(endpoint("GET", query="token=a&token=b"), 400, "twice")
    is_problem(endpoint("GET", query="token=%ff"), 400, "this is no token")
    is_problem(endpoint("GET", query="token=\xff"), 400, "this is no token")
    is_problem(endpoint("GET", query="&".join(f"a{n}=1" for n in range(50))), 400, "no form")
    link = urlencode({"token": thumbprint.token_for(REF, allow=("tags",))})
    is_problem(endpoint("GET", query=link), 403, "asks for none of tags")


@pytest.mark.parametrize(
    ("allow", "shown", "hidden"),
    [
        (("thumbs",), ["thumbs"], ["score", "comment"]),
        (("score",), ["score"], ["thumbs", "comment"]),
        (("comment",), ["comment"], ["thumbs", "score"]),
        (("thumbs", "score", "comment"), ["thumbs", "comment"], ["score"]),
    ],
)
def test_the_page_asks_for_what_the_token_allows(endpoint, allow, shown, hidden):
    link = {"token": thumbprint.token_for(REF, allow=allow), "score": "0.50", "comment": '</textarea><b a="'}
    page = endpoint("GET", query=urlencode(link)).body.decode()
    assert [f'name="{name}"' in page for name in shown] == [True] * len(shown)
    assert [f'name="{name}"' in page for name in hidden] == [False] * len(hidden)
    assert "<b a" not in page
    assert ('value="0.5" checked' in page) is (allow == ("score",))


@pytest.mark.parametrize("marks", ["utm_campaign=M%E4rz", "a=\xe4", "a", "a=1&a=2", "=", "&&", "amp;thumbs=down"])
def test_a_link_works_whatever_a_mailing_adds_to_it(endpoint, marks):
    got = endpoint("GET", query=f"{urlencode({'token': thumbprint.token_for(REF), 'thumbs': 'up'})}&{marks}")
    assert got.status == 200
    assert b'value="up" checked' in got.body


def test_head_is_answered_without_a_body(endpoint):
    query = urlencode({"token": thumbprint.token_for(REF)})
    got = endpoint("HEAD", query=query)
    assert (got.status, got.body) == (200, b"")
    assert got.headers["content-length"] == endpoint("GET", query=query).headers["content-length"]


# other origins


def test_other_origins_are_not_allowed_unless_they_are_named(endpoint):
    got = endpoint("OPTIONS", headers=[("Origin", "https://a.example")])
    assert (got.status, got.body, got.headers["allow"]) == (204, b"", "GET, HEAD, OPTIONS, POST")
    assert not [name for name in got.headers if name.startswith("access-control")]


@pytest.mark.parametrize("allowed", ["https://a.example", "*"])
def test_a_named_origin_may_read_answers_and_refusals(endpoint, allowed):
    endpoint.serve(allow_origins=[allowed])
    origin = ("Origin", "https://a.example")
    asked = endpoint("OPTIONS", headers=[origin, ("Access-Control-Request-Method", "POST")])
    assert asked.headers["access-control-allow-methods"] == "POST"
    assert asked.headers["access-control-allow-headers"] == "content-type"
    for got in (asked, endpoint.say(origin), endpoint.say(origin, token=thumbprint.token_for(REF), thumbs="up")):
        assert got.headers["access-control-allow-origin"] == allowed
        assert got.headers["access-control-expose-headers"] == "retry-after"
        assert got.headers.get("vary") == (None if allowed == "*" else "Origin")


def test_another_than_the_named_origin_may_not(endpoint):
    endpoint.serve(allow_origins=["https://a.example"])
    got = endpoint("OPTIONS", headers=[("Origin", "https://b.example")])
    assert got.headers["vary"] == "Origin"
    assert not [name for name in got.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", ["a.example", "https://a.example/", "HTTPS://A", None, "null"])
def test_what_is_no_origin_is_refused(endpoint, origin):
    with pytest.raises(ArgumentValueError, match="allow_origins"):
        endpoint.serve(allow_origins=[origin])
    with pytest.raises(ArgumentTypeError, match="allow_origins"):
        endpoint.serve(allow_origins="https://a.example")


# the hook


def test_the_hook_says_who_speaks(endpoint, emulator, token):
    asked = []

    def on_feedback(request, feedback):
        asked.append((request.get("type", request.get("REQUEST_METHOD")), feedback.thumbs))
        return {"user_id": "u-17", "metadata": {"plan": "pro"}}

    endpoint.serve(on_feedback=on_feedback)
    assert endpoint.say(token=token, thumbs="up").status == 202
    votes(emulator)
    metadata = emulator.cloudflare_logs()[0]["metadata"]
    assert (metadata["user_id"], metadata["plan"]) == ("u-17", "pro")
    assert asked in ([("http", 1)], [("POST", 1)])


@pytest.mark.parametrize(("settings", "status"), [({}, 403), ({"status": 451}, 451), ({"status": 499}, 499)])
def test_the_hook_refuses(endpoint, emulator, token, settings, status):
    def on_feedback(request, feedback):
        raise FeedbackRefusedError("sign in first", **settings)

    endpoint.serve(on_feedback=on_feedback)
    is_problem(endpoint.say(token=token, thumbs="up"), status, "^sign in first$")
    assert votes(emulator) == [(None, None)]


def test_a_hook_that_adds_nothing_changes_nothing(endpoint, emulator, token):
    endpoint.serve(on_feedback=lambda request, feedback: None)
    assert endpoint.say(token=token, thumbs="up").status == 202
    endpoint.serve(on_feedback=lambda request, feedback: {"user_id": "u-1"})
    assert endpoint.say(token=token, thumbs="down").status == 202
    assert votes(emulator) == [(-1, None)]


@pytest.mark.parametrize(
    "added",
    [
        *({"thumbs": "down"}, {"user_id": ""}, {"user_id": 5}, {"metadata": "a"}, {"metadata": {"a": {1}}}, {1: 2}),
        *(5, 0, False, True, "user_id", "", [], ["user_id"], range(3)),
    ],
    ids=repr,
)
def test_a_hook_that_returns_what_it_may_not_is_the_servers_fault(endpoint, emulator, token, added):
    endpoint.serve(on_feedback=lambda request, feedback: added)
    with pytest.raises((ArgumentValueError, ArgumentTypeError), match=r"on_feedback|user_id|metadata"):
        endpoint.say(token=token, thumbs="up")
    assert votes(emulator) == [(None, None)]


def test_what_a_hook_adds_stands_beside_what_was_said_and_none_of_it_is_taken_away(endpoint, emulator, client):
    token = thumbprint.token_for(answered(client), allow=("thumbs", "metadata"))
    added = iter([{"user_id": None, "metadata": None}, {"metadata": {"plan": "pro"}}])
    endpoint.serve(on_feedback=lambda request, feedback: next(added))
    for metadata in ({"page": "/a", "plan": "free"}, {"page": "/b", "plan": "free"}):
        assert endpoint.say(token=token, metadata=metadata).status == 202
    votes(emulator)
    assert emulator.cloudflare_logs()[0]["metadata"] == {"page": "/b", "plan": "pro"}


@pytest.mark.parametrize("hook", [5, "on_feedback", {}])
def test_a_hook_that_is_no_function_is_refused_at_once(endpoint, hook):
    with pytest.raises(ArgumentTypeError, match="on_feedback"):
        endpoint.serve(on_feedback=hook)


def test_wsgi_takes_no_coroutine_function(emulator, secret, token):
    async def on_feedback(environ, feedback):
        pass

    class Hook:
        def __call__(self, environ, feedback):
            self.made = on_feedback(environ, feedback)
            return self.made

    side, hook = Side(wsgi, web_clients.through_wsgi), Hook()
    with pytest.raises(ArgumentTypeError, match="nobody awaits in WSGI"):
        side.serve(on_feedback=on_feedback)
    side.serve(on_feedback=hook)
    with pytest.raises(ArgumentTypeError, match=r"on_feedback returned .* of type coroutine"):
        side.say(token=token, thumbs="up")
    hook.made.close()


def test_a_hook_may_be_a_coroutine_function(emulator, secret, token):
    async def on_feedback(scope, feedback):
        return {"user_id": "u-1"}

    side = Side(asgi, web_clients.through_asgi).serve(on_feedback=on_feedback)
    assert side.say(token=token, thumbs="up").status == 202
    votes(emulator)
    assert emulator.cloudflare_logs()[0]["metadata"]["user_id"] == "u-1"


@pytest.mark.parametrize("status", [200, 500])
def test_a_refusal_has_a_status_that_blames_the_client(status):
    with pytest.raises(ArgumentValueError, match="400 to 499"):
        FeedbackRefusedError("no", status=status)


# limits


class Meeting(MemoryStore):
    """A store that several endpoints share, with what they called its buckets and notes."""

    shared = True

    def __init__(self):
        super().__init__()
        self.told = []
        self.fails = ()

    def take(self, bucket, pace, *, now):
        self._meet("take", bucket)
        return super().take(bucket, pace, now=now)

    def swap(self, name, old, new, *, seconds):
        self._meet("swap", name, old, new)
        return super().swap(name, old, new, seconds=seconds)

    def put(self, items):
        self._meet("put")
        return super().put(items)

    def _meet(self, name, *told):
        self.told += told
        if name in self.fails:
            raise StoreError("the store is away")


@pytest.fixture
def meeting(endpoint):
    """A store that the process-wide thumbprint has; nothing of it is delivered."""
    store = Meeting()
    thumbprint.configure(store=store, delivery="none")
    return store


def kept(store):
    return [item.feedback for item in store.listed(dead=False, most=99)]


def test_processes_that_share_a_store_count_a_double_click_once(endpoint, meeting):
    token = thumbprint.token_for(REF)
    first = endpoint.say(token=token, comment="a")
    again = endpoint.serve().say(token=token, comment="a")
    other = endpoint.serve().say(token=token, comment="b")
    back = endpoint.serve().say(token=token, comment="a")
    assert [got.status for got in (first, again, other, back)] == [202] * 4
    assert again.document == first.document
    assert len({got.document["id"] for got in (first, other, back)}) == 3
    assert [feedback.comments for feedback in kept(meeting)] == [("a",), ("b",), ("a",)]


def test_processes_that_share_a_store_share_the_limit_of_each_token(endpoint, meeting):
    token, other = thumbprint.token_for(REF), thumbprint.token_for(REF, allow=("thumbs",))
    assert endpoint.serve(per_minute=2).say(token=token, thumbs="up").status == 202
    assert endpoint.serve(per_minute=2).say(token=token, thumbs="down").status == 202
    got = endpoint.serve(per_minute=2).say(token=token, thumbs="up")
    is_problem(got, 429, "wait (29|30) s")
    assert endpoint.say(token=other, thumbs="up").status == 202


def test_a_flood_that_one_process_refuses_does_not_get_on_to_the_store(endpoint, meeting):
    token = thumbprint.token_for(REF)
    endpoint.serve(per_minute=1).say(token=token, thumbs="up")
    meeting.told.clear()
    assert {endpoint.say(token=token, thumbs="up").status for _ in range(20)} == {429}
    assert meeting.told == []


def test_what_the_store_is_told_shows_neither_token_nor_words(endpoint, meeting):
    token = thumbprint.token_for(REF)
    endpoint.say(token=token, thumbs="up", comment="wrong city")
    endpoint.say(token=token, thumbs="up", comment="wrong city")
    assert len(meeting.told) == 2 + 3 * 3
    assert not [text for text in meeting.told if token[4:20] in text or "wrong" in text or "up" in text]
    guessed = hashlib.sha256(json.dumps([{"comment": "wrong city", "thumbs": "up"}, None]).encode()).hexdigest()
    assert not [text for text in meeting.told if guessed[:16] in text]


def test_users_whose_token_is_the_same_count_one_by_one(endpoint, meeting):
    users = iter(["u-1", "u-2"])
    endpoint.serve(on_feedback=lambda request, feedback: {"user_id": next(users)})
    token = thumbprint.token_for(REF)
    assert len({endpoint.say(token=token, thumbs="up").document["id"] for _ in range(2)}) == 2


def test_a_store_that_cannot_be_asked_costs_no_vote_and_each_process_limits_by_itself(endpoint, meeting, caplog):
    meeting.fails = {"take", "swap"}
    endpoint.serve(per_minute=2)
    token = thumbprint.token_for(REF)
    first, again, late = [endpoint.say(token=token, comment="a") for _ in range(3)]
    assert first.document == again.document
    assert (first.status, late.status) == (202, 429)
    assert len(kept(meeting)) == 1
    assert "limits feedback by itself: the store is away" in caplog.text


def test_what_could_not_be_stored_is_stored_at_once_when_it_is_said_again(endpoint, meeting, monkeypatch):
    monkeypatch.setattr(_recent, "time", SimpleNamespace(time=time.time))  # it waits for nobody, so it needs no sleep
    token = thumbprint.token_for(REF)
    meeting.fails = {"put"}
    is_problem(endpoint.say(token=token, comment="a"), 503, "try again later")
    meeting.fails = ()
    assert endpoint.serve().say(token=token, comment="a").status == 202
    assert [feedback.comments for feedback in kept(meeting)] == [("a",)]


def test_the_words_count_again_after_a_while(endpoint, meeting, monkeypatch):
    token = thumbprint.token_for(REF)
    first = endpoint.say(token=token, comment="a")
    monkeypatch.setattr(memory.time, "monotonic", lambda now=memory.time.monotonic: now() + 9)
    assert endpoint.say(token=token, comment="a").document == first.document
    monkeypatch.setattr(memory.time, "monotonic", lambda now=memory.time.monotonic: now() + 2)
    assert endpoint.say(token=token, comment="a").document != first.document


class Recorded:
    """Two who say the same words: the second comes while the first records, which then ends as it is told to."""

    def __init__(self, monkeypatch):
        self.recent, self.between = _recent.Recent(60), lambda: None
        self.waiting = threading.Event()
        slept = SimpleNamespace(sleep=lambda _: self.waiting.set(), time=time.time)  # others' own sleep stays as it is
        monkeypatch.setattr(_recent, "time", slept)

    def run(self, end):
        with ThreadPoolExecutor(1) as threads:

            def record():
                self.second = threads.submit(self.recent.once, None, "t", "w", lambda: "second")
                assert self.waiting.wait(20)
                self.between()
                return end()

            first = self.recent.once(None, "t", "w", record)
            return first, self.second.result(20)


def test_a_double_click_waits_for_the_first_ones_answer(monkeypatch):
    assert Recorded(monkeypatch).run(lambda: "first") == ("first", "first")


def test_a_double_click_records_where_the_first_could_not(monkeypatch):
    def fail():
        raise StoreError("no")

    both = Recorded(monkeypatch)
    with pytest.raises(StoreError, match="no"):
        both.run(fail)
    assert both.second.result(20) == "second"


def test_a_double_click_records_where_another_word_came_between(monkeypatch):
    both = Recorded(monkeypatch)
    both.between = lambda: both.recent.once(None, "t", "x", lambda: "between")
    assert both.run(lambda: "first") == ("first", "second")


def test_what_a_process_took_up_and_died_over_is_recorded_when_it_is_said_again():
    store = MemoryStore()
    store.swap("feedback:t", "", "w of-the-dead", seconds=0.1)
    assert _recent.Recent(60).once(store, "t", "w", lambda: "again") == "again"


def test_forms_take_no_more_than_links_do():
    assert _fields.IN_FORMS < _fields.IN_JSON
