"""Everything that thumbprint knows about Cloudflare AI Gateway: as values, and against the emulator over HTTP."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbprint import ConfigurationError, LogRef, errors
from thumbprint._feedback import feedback_from
from thumbprint._model import Feedback
from thumbprint.backends import Answer, Cloudflare, Exchange, Verdict, Wanted
from thumbprint.backends.cloudflare import BINDING_URL, BLOCKED_FOR, log_at
from thumbprint.delivery import HttpxTransport
from thumbprint.delivery._courier import carry_out
from thumbprint.delivery._pace import Pacer
from thumbprint.delivery._steps import sent
from thumbprint.stores import MemoryStore

LOG_ID = "01JADMCQQQBWH3NXZ5GCRN98DP"
ACCOUNT = "0123456789abcdef0123456789abcdef"
GATEWAY_HOST = "https://gateway.ai.cloudflare.com/v1"
REST = "https://api.cloudflare.com/client/v4"
UNPACED = Pacer(store=MemoryStore(), bucket="any", pace=None)
CONFIGURED = Cloudflare(api_token="cf-secret-token", account_id="own-account", gateway_id="own-gateway")
REF = LogRef(backend="cloudflare", id=LOG_ID, account_id=ACCOUNT, gateway_id="my-gw")


def exchange(url, *, request_headers=None, **response_headers):
    headers = {"cf-aig-log-id": LOG_ID} | {name.replace("_", "-"): value for name, value in response_headers.items()}
    return Exchange(
        method="POST",
        url=url,
        request_headers=httpx.Headers(request_headers),
        response_headers=httpx.Headers(headers),
        operation="chat",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        span_id="b7ad6b7169203331",
        captured_at=1_700_000_000.5,
    )


def home(backend, url, **kwargs):
    ref = backend.recognise(exchange(url, **kwargs))
    return ref.account_id, ref.gateway_id


# --- which log entry an answer tells of


def test_the_ref_holds_the_log_id_and_all_that_is_known_of_the_call():
    assert Cloudflare().recognise(exchange(f"{GATEWAY_HOST}/{ACCOUNT}/my-gw/openai/chat/completions")) == LogRef(
        backend="cloudflare",
        id=LOG_ID,
        operation="chat",
        account_id=ACCOUNT,
        gateway_id="my-gw",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        span_id="b7ad6b7169203331",
        captured_at=1_700_000_000.5,
    )


@pytest.mark.parametrize(
    "path",
    ["openai/chat/completions", "compat/chat/completions?key=1", "anthropic/v1/messages", "azure-openai/a/b", "", None],
)
@pytest.mark.parametrize("backend", [Cloudflare(), CONFIGURED], ids=["bare", "configured"])
def test_at_the_gateway_s_host_the_path_names_account_and_gateway_whatever_is_configured(backend, path):
    url = f"{GATEWAY_HOST}/{ACCOUNT}/my-gw" + ("" if path is None else f"/{path}")

    assert home(backend, url) == (ACCOUNT, "my-gw")


@pytest.mark.parametrize(
    "path", ["ai/v1/chat/completions", "ai/v1/responses", "ai/v1/messages", "ai/run/@cf/meta/llama", "ai/run"]
)
@pytest.mark.parametrize("backend", [Cloudflare(), CONFIGURED], ids=["bare", "configured"])
@pytest.mark.parametrize(
    ("headers", "gateway"),
    [
        pytest.param({}, "default", id="no header"),
        pytest.param({"CF-AIG-Gateway-Id": "my_gw-2"}, "my_gw-2", id="a header"),
        pytest.param({"cf-aig-gateway-id": ""}, "default", id="an empty header"),
    ],
)
def test_on_the_rest_route_the_account_is_in_the_path_and_the_gateway_in_a_header(backend, path, headers, gateway):
    url = f"{REST}/accounts/{ACCOUNT}/{path}"

    assert home(backend, url, request_headers=headers) == (ACCOUNT, gateway)


@pytest.mark.parametrize(
    ("base_url", "called"),
    [
        ("https://cf.example/client/v4", "https://cf.example/client/v4"),
        ("https://cf.example/client/v4/", "https://cf.example/client/v4"),
        ("https://cf.example:443", "https://cf.example"),
        ("http://localhost:8787", "http://localhost:8787"),
    ],
)
def test_the_rest_route_is_also_found_under_a_base_url_of_one_s_own(base_url, called):
    backend = Cloudflare(base_url=base_url, account_id="own", gateway_id="own")

    assert home(backend, f"{called}/accounts/{ACCOUNT}/ai/v1/responses") == (ACCOUNT, "default")


@pytest.mark.parametrize(
    "url",
    [
        f"https://cf.example/v1/{ACCOUNT}/my-gw/openai/chat/completions",
        f"https://other.example/client/v4/accounts/{'f' * 32}/ai/v1/{ACCOUNT}/my-gw/x",
    ],
)
def test_what_is_no_rest_route_under_that_base_url_is_like_any_unknown_host(url):
    backend = Cloudflare(base_url="https://cf.example", account_id="own", gateway_id="own-gateway")

    assert home(backend, url) == ("own", "own-gateway")


def test_behind_a_custom_domain_the_configured_ids_win():
    url = f"https://llm.example/v1/{ACCOUNT}/my-gw/openai/chat/completions"

    assert home(CONFIGURED, url) == ("own-account", "own-gateway")


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        pytest.param(Cloudflare(), (ACCOUNT, "my-gw"), id="none"),
        pytest.param(Cloudflare(account_id="own"), ("own", "my-gw"), id="the account"),
        pytest.param(Cloudflare(gateway_id="own"), (ACCOUNT, "own"), id="the gateway"),
    ],
)
def test_behind_a_custom_domain_the_path_tells_what_is_not_configured(backend, expected):
    assert home(backend, f"https://llm.example/prefix/v1/{ACCOUNT}/my-gw/openai/chat/completions") == expected


@pytest.mark.parametrize(
    "path",
    ["v1/chat/completions", f"v1/{ACCOUNT[:-1]}/gw/openai", f"v1/{ACCOUNT}", f"v1/{ACCOUNT}/gw", "v1/models/a/b"],
)
@pytest.mark.parametrize(
    ("backend", "missing"),
    [
        (Cloudflare(api_token="t"), "CLOUDFLARE_ACCOUNT_ID"),
        (Cloudflare(api_token="t", account_id="own"), "CLOUDFLARE_GATEWAY_ID"),
        (Cloudflare(api_token="t", gateway_id="own"), "CLOUDFLARE_ACCOUNT_ID"),
    ],
)
def test_where_nothing_tells_its_home_an_entry_is_captured_and_the_check_names_the_variable(backend, missing, path):
    ref = backend.recognise(exchange(f"https://llm.example/{path}"))

    assert (ref.id, ref.account_id, ref.gateway_id) == (LOG_ID, backend.account_id, backend.gateway_id)
    with pytest.raises(errors.MissingCredentialsError, match=missing) as caught:
        backend.check(ref)
    assert caught.value.variable == missing


def test_feedback_without_a_token_is_refused_naming_the_variable():
    with pytest.raises(errors.MissingCredentialsError, match="CLOUDFLARE_API_TOKEN") as caught:
        Cloudflare().check(REF)

    assert caught.value.variable == "CLOUDFLARE_API_TOKEN"


def test_the_check_passes_where_the_configuration_fills_in_what_the_ref_does_not_know():
    bare = LogRef(backend="cloudflare", id=LOG_ID)

    CONFIGURED.check(bare)
    with pytest.raises(errors.MissingCredentialsError):
        Cloudflare(api_token="t").check(bare)


def test_an_answer_without_a_log_id_tells_of_no_entry():
    bare = exchange(f"{GATEWAY_HOST}/{ACCOUNT}/my-gw/openai/x")

    assert Cloudflare().recognise(Exchange(**{**as_dict(bare), "response_headers": httpx.Headers()})) is None


def as_dict(value):
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


@pytest.mark.parametrize("hit", ["HIT", "hit"])
def test_a_log_id_on_an_answer_from_braintrust_s_cache_is_an_older_call_s(hit):
    assert Cloudflare().recognise(exchange(f"{GATEWAY_HOST}/{ACCOUNT}/my-gw/openai/x", x_bt_cached=hit)) is None


def test_a_log_id_beside_a_cache_miss_is_this_call_s():
    ref = Cloudflare().recognise(exchange(f"{GATEWAY_HOST}/{ACCOUNT}/my-gw/openai/x", x_bt_cached="MISS"))

    assert ref.id == LOG_ID


@pytest.mark.parametrize(("status", "repeats"), [("HIT", True), ("hit", True), ("MISS", False), (None, False)])
def test_an_answer_from_cloudflare_s_cache_repeats_with_a_log_id_of_its_own(status, repeats):
    headers = {} if status is None else {"cf_aig_cache_status": status}
    answered = exchange(f"{GATEWAY_HOST}/{ACCOUNT}/my-gw/openai/x", **headers)

    assert Cloudflare().repeats(answered) is repeats
    assert Cloudflare().recognise(answered).id == LOG_ID


@pytest.mark.parametrize("broken", ["", " ", "a b", "é", "a\tb", "a\x00", "x" * 513])
def test_a_broken_log_id_is_a_value_error(broken):
    answered = exchange(f"{GATEWAY_HOST}/{ACCOUNT}/my-gw/openai/x")
    answered = Exchange(**{**as_dict(answered), "response_headers": {"cf-aig-log-id": broken}})

    with pytest.raises(ValueError, match="the header cf-aig-log-id holds no id"):
        CONFIGURED.recognise(answered)


@pytest.mark.parametrize("opaque", ["7", "not/a?ulid%", "x" * 512, "~!#"])
def test_a_log_id_is_an_opaque_string(opaque):
    answered = exchange(f"{GATEWAY_HOST}/{ACCOUNT}/my-gw/openai/x", cf_aig_log_id=opaque)

    assert Cloudflare().recognise(answered).id == opaque


@pytest.mark.parametrize(
    "url",
    [
        "https://gateway.ai.cloudflare.com/",
        f"{GATEWAY_HOST}/{ACCOUNT}",
        f"{GATEWAY_HOST}//my-gw/openai",
        f"{GATEWAY_HOST}/{ACCOUNT}/My-GW/openai",
        f"{GATEWAY_HOST}/{ACCOUNT}/my--gw/openai",
        f"{GATEWAY_HOST}/{ACCOUNT}/-gw/openai",
        f"{GATEWAY_HOST}/{ACCOUNT}/{'g' * 65}/openai",
        f"{GATEWAY_HOST}/{'a' * 65}/gw/openai",
        f"{GATEWAY_HOST}/%2e%2e/gw/openai",
        f"{GATEWAY_HOST}/{ACCOUNT}/gw%0a/openai",
        f"https://gateway.ai.cloudflare.com/v2/{ACCOUNT}/gw/openai",
        f"{REST}/accounts/{ACCOUNT}/other",
        f"{REST}/accounts//ai/v1/responses",
        f"https://llm.example/v1/{ACCOUNT}/Not%20A%20Gateway/openai",
        "https://[broken/v1",
    ],
)
def test_a_broken_url_is_a_value_error(url):
    with pytest.raises(ValueError, match=r"no account and gateway can be read|URL"):
        Cloudflare(account_id="own").recognise(exchange(url))


def test_the_error_of_a_broken_url_shows_no_query_for_that_may_hold_a_key():
    with pytest.raises(ValueError, match="no account and gateway") as caught:
        Cloudflare().recognise(exchange(f"{GATEWAY_HOST}/{ACCOUNT}?key=sk-secret"))

    assert "sk-secret" not in str(caught.value)


def test_a_gateway_header_that_names_no_gateway_is_a_value_error():
    with pytest.raises(ValueError, match="no account and gateway"):
        home(Cloudflare(), f"{REST}/accounts/{ACCOUNT}/ai/v1/x", request_headers={"cf-aig-gateway-id": "No Gateway"})


def test_the_binding_of_a_worker_reaches_the_gateways_of_its_own_account():
    told = {"request_headers": {"cf-aig-gateway-id": "my-gw"}}
    assert home(Cloudflare(), BINDING_URL, **told) == (None, "my-gw")
    assert home(CONFIGURED, BINDING_URL, **told) == ("own-account", "my-gw")
    assert home(CONFIGURED, BINDING_URL) == ("own-account", "own-gateway")


def test_a_request_tells_which_log_it_is_for():
    requests, _ = walk(CONFIGURED, feedback_from(thumbs="up", comment="c"), log_with(None), answer())
    assert {log_at(request.url) for request in requests} == {("my-gw", LOG_ID)}
    odd = LogRef(backend="cloudflare", id="a/../b?c", gateway_id="my-gw")
    [request], _ = walk(CONFIGURED, feedback_from(thumbs="up"), answer(), ref=odd)
    assert log_at(request.url) == ("my-gw", "a%2F..%2Fb%3Fc")


def test_requests_are_left_alone_for_the_gateway_sends_its_id_unasked():
    assert CONFIGURED.request_headers(f"{GATEWAY_HOST}/{ACCOUNT}/my-gw/openai", httpx.Headers()) == {}


# --- what request says the feedback


def walk(backend, feedback, *answers, ref=REF):
    """Carry out a plan by hand; return the requests it made and its verdict."""
    plan = backend.deliver([(ref, feedback)])
    requests = [next(plan)]
    for answer in answers:
        try:
            requests.append(plan.send(answer))
        except StopIteration as done:
            return requests, done.value
    raise AssertionError(f"the plan wants more answers after {requests}")


def answer(body=None, status=200, **headers):
    content = json.dumps({"success": True, "result": {}} if body is None else body).encode()
    return Answer(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, content=content
    )


def log_with(metadata):
    return answer({"success": True, "result": {"id": LOG_ID, "metadata": metadata}})


def patched(backend=CONFIGURED, *, had=None, **arguments):
    """Return the body of the PATCH that says this feedback to a log that had this metadata."""
    feedback = feedback_from(**arguments)
    only_patch = not backend._metadata(feedback)
    requests, verdict = walk(backend, feedback, *([] if only_patch else [log_with(had)]), answer())
    assert [request.method for request in requests] == (["PATCH"] if only_patch else ["GET", "PATCH"])
    assert verdict == Verdict(kind="delivered")
    return requests[-1].json


@pytest.mark.parametrize(
    ("said", "body"),
    [
        ({"thumbs": "up"}, {"feedback": 1}),
        ({"thumbs": "down"}, {"feedback": -1}),
        ({"thumbs": None}, {"feedback": 0}),
        ({"score": 0.5}, {"score": 50}),
        ({"score": 0.57}, {"score": 57}),
        ({"score": 0}, {"score": 0}),
        ({"score": 1}, {"score": 100}),
        ({"score": None}, {"score": None}),
        ({"scores": {"tone": 0.25}}, {"metadata": {"score.tone": 0.25}}),
        ({"scores": {"tone": None}}, {"metadata": {"score.tone": ""}}),
        ({"comment": "wrong city"}, {"metadata": {"comment": "wrong city"}}),
        ({"expected": {"a": ["é"]}}, {"metadata": {"expected": '{"a": ["é"]}'}}),
        ({"expected": "x"}, {"metadata": {"expected": '"x"'}}),
        ({"expected": None}, {"metadata": {"expected": "null"}}),
        ({"tags": ["a", "b"]}, {"metadata": {"tags": "a,b"}}),
        ({"tags": []}, {"metadata": {"tags": ""}}),
        ({"thumbs": True, "user_id": "u-17"}, {"feedback": 1, "metadata": {"user_id": "u-17"}}),
        ({"thumbs": True, "source": "app"}, {"feedback": 1, "metadata": {"source": "app"}}),
        ({"metadata": {"s": "x", "n": 1.5, "b": False}}, {"metadata": {"s": "x", "n": 1.5, "b": False}}),
        (
            {"thumbs": False, "score": 0.1, "comment": "c", "metadata": {"k": "v"}},
            {"feedback": -1, "score": 10, "metadata": {"k": "v", "comment": "c"}},
        ),
    ],
)
def test_each_field_is_patched_into_its_place(said, body):
    assert patched(**said) == body


@given(st.floats(0, 1))
def test_a_score_is_patched_as_a_percentage_within_the_range_of_the_api(score):
    percentage = patched(score=score)["score"]

    assert 0 <= percentage <= 100
    assert abs(percentage - 100 * score) <= 1e-10


@pytest.mark.parametrize(
    ("had", "kept"),
    [
        pytest.param('{"a": "b", "n": 1, "t": true}', {"a": "b", "n": 1, "t": True}, id="a JSON string"),
        pytest.param({"a": "b"}, {"a": "b"}, id="an object"),
        pytest.param('{"a": null, "o": {}, "l": []}', {}, id="values that the API does not take"),
        pytest.param(None, {}, id="null"),
        pytest.param("", {}, id="an empty string"),
    ],
)
def test_metadata_is_written_as_the_union_with_what_the_log_has(had, kept):
    assert patched(had=had, comment="new") == {"metadata": {**kept, "comment": "new"}}


@pytest.mark.parametrize(
    ("there", "comments", "then"),
    [
        (None, "a", "a"),
        ("", "a", "a"),
        ("a", "b", "a\nb"),
        ("a\nb", "cd", "a\nb\nc\nd"),
        (7, "a", "7\na"),
        (False, "a", "False\na"),
        ("wrong city\na", "a", "wrong city\na\na"),  # somebody else may say the same
    ],
)
def test_a_comment_goes_below_those_that_are_there(there, comments, then):
    said = Feedback(comments=tuple(comments))

    requests, verdict = walk(CONFIGURED, said, log_with({"k": "v", "comment": there}), answer())

    assert requests[-1].json == {"metadata": {"k": "v", "comment": then}}
    assert verdict == Verdict(kind="delivered")


TOO_LONG = {"success": False, "errors": [{"message": "metadata is too long"}], "result": {}}


@pytest.mark.parametrize("status", [400, 413])
@pytest.mark.parametrize(
    ("said", "rest"),
    [
        ({"thumbs": "up"}, {"feedback": 1, "metadata": {"comment": "old"}}),
        ({"score": 0.5, "tags": ["t"]}, {"score": 50, "metadata": {"comment": "old", "tags": "t"}}),
        ({"metadata": {"comment": "mine", "k": 1}}, {"metadata": {"comment": "old", "k": 1}}),
    ],
)
def test_where_a_comment_is_refused_the_rest_is_delivered_without_it(status, said, rest):
    requests, verdict = walk(
        CONFIGURED,
        feedback_from(comment="new", **said),
        log_with({"comment": "old"}),
        answer(TOO_LONG, status),
        answer(),
    )

    assert requests[1].json["metadata"]["comment"] == "old\nnew"
    assert requests[2].json == rest
    assert verdict.kind == "refused"
    assert verdict.reason.startswith(f"all but the comment was delivered; with it: HTTP {status}: ")


def test_where_nothing_but_a_comment_was_said_that_is_refused_by_one_request():
    requests, verdict = walk(CONFIGURED, feedback_from(comment="new"), log_with(None), answer(TOO_LONG, 413))

    assert [request.method for request in requests] == ["GET", "PATCH"]
    assert verdict.kind == "refused"


def test_where_the_rest_is_not_taken_either_its_verdict_is_the_one_that_counts():
    said = feedback_from(comment="new", thumbs="up")
    _, verdict = walk(CONFIGURED, said, log_with(None), answer(TOO_LONG, 413), answer(BAD, 503))

    assert (verdict.kind, "HTTP 503" in verdict.reason) == ("retry", True)


@pytest.mark.parametrize("had", ["{broken", "[1]", 7])
def test_metadata_that_cannot_be_read_is_not_written_anew(had):
    [request], verdict = walk(CONFIGURED, feedback_from(comment="new"), log_with(had))

    assert (request.method, verdict.kind) == ("GET", "refused")
    assert "metadata cannot be read" in verdict.reason


def test_feedback_that_adds_no_metadata_does_not_read_the_log_first():
    [request], verdict = walk(CONFIGURED, feedback_from(thumbs="up", score=1), answer())

    assert (request.method, verdict.kind) == ("PATCH", "delivered")


def test_what_the_api_cannot_hold_is_reported_and_left_out():
    said = {"metadata": {"null": None, "list": [1], "object": {}, "text": "t"}, "thumbs": "up"}

    assert CONFIGURED.unsupported(feedback_from(**said)) == ("metadata.null", "metadata.list", "metadata.object")
    assert patched(**said) == {"feedback": 1, "metadata": {"text": "t"}}


def test_metadata_whose_name_another_field_takes_is_reported_and_left_out():
    said = {
        "metadata": {"comment": "mine", "user_id": "mine", "score.tone": 1},
        "comment": "c",
        "scores": {"tone": 0.5},
    }

    assert CONFIGURED.unsupported(feedback_from(**said)) == ("metadata.comment", "metadata.score.tone")
    assert patched(**said) == {"metadata": {"comment": "c", "user_id": "mine", "score.tone": 0.5}}


def test_where_only_unsupported_metadata_is_said_the_log_is_not_read():
    [request], _ = walk(CONFIGURED, feedback_from(thumbs="up", metadata={"a": None}), answer())

    assert request.json == {"feedback": 1}


@pytest.mark.parametrize("base_url", [None, "https://cf.example/v4", "https://cf.example/v4/"])
def test_requests_go_to_the_log_of_the_ref_with_the_token(base_url):
    backend = Cloudflare(api_token="cf-secret-token", base_url=base_url)
    requests, _ = walk(backend, feedback_from(comment="c"), log_with(None), answer())

    base = REST if base_url is None else "https://cf.example/v4"
    for request in requests:
        assert request.url == f"{base}/accounts/{ACCOUNT}/ai-gateway/gateways/my-gw/logs/{LOG_ID}"
        assert request.headers == {"authorization": "Bearer cf-secret-token"}
        assert "cf-secret-token" not in repr(request)


def test_what_the_ref_does_not_know_is_filled_in_from_the_configuration():
    ref = LogRef(backend="cloudflare", id=LOG_ID)
    [request], _ = walk(CONFIGURED, feedback_from(thumbs="up"), answer(), ref=ref)

    assert "/accounts/own-account/ai-gateway/gateways/own-gateway/logs/" in request.url


@given(*[st.text(min_size=1).filter(str.isprintable)] * 3)
def test_path_segments_are_percent_encoded(account, gateway, log_id):
    ref = LogRef(backend="cloudflare", id=log_id, account_id=account, gateway_id=gateway)
    [request], _ = walk(CONFIGURED, feedback_from(thumbs="up"), answer(), ref=ref)

    segments = request.url.removeprefix(f"{REST}/").split("/")
    assert [unquote(segment) for segment in segments] == [
        *("accounts", account, "ai-gateway", "gateways", gateway, "logs", log_id)
    ]
    assert request.url.isascii()
    assert not set("?# ") & set(request.url)


def test_each_log_is_a_delivery_of_its_own():
    other = LogRef(backend="cloudflare", id="another", account_id=ACCOUNT, gateway_id="my-gw")

    assert CONFIGURED.batch_size == 1
    assert CONFIGURED.destination(REF) != CONFIGURED.destination(other)


# --- what the answer means

NOT_FOUND = {"success": False, "errors": [{"code": 7002, "message": "Not Found"}]}
BAD = {"success": False, "errors": [{"message": "score must be at most 100"}], "result": {}}


@pytest.mark.parametrize(
    ("answered", "kind", "words"),
    [
        (answer(), "delivered", None),
        (answer({"success": False, "errors": [], "result": None}), "retry", '"success"'),
        (answer({"success": True}), "retry", '"success"'),
        (answer([True]), "retry", "not one of Cloudflare's API"),
        (Answer(status=200, content=b"<html>log in</html>"), "retry", "not one of Cloudflare's API"),
        (Answer(status=200), "retry", "not one of Cloudflare's API"),
        (Answer(status=204), "retry", "not one of Cloudflare's API"),
        (Answer(status=302), "refused", "HTTP 302"),
        (answer(BAD, 400), "refused", "HTTP 400: .*score must be at most 100"),
        (answer(BAD, 401), "unauthorized", "HTTP 401"),
        (answer(BAD, 403), "unauthorized", "HTTP 403"),
        (answer(NOT_FOUND, 404), "early", "HTTP 404: .*Not Found"),
        (answer(BAD, 405), "refused", "HTTP 405"),
        (answer(BAD, 408), "retry", "HTTP 408"),
        (answer(BAD, 413), "refused", "HTTP 413"),
        (answer(BAD, 425), "retry", "HTTP 425"),
        (answer(BAD, 429), "retry", "HTTP 429"),
        (Answer(status=500, content=b"  oops\n\n again "), "retry", "^HTTP 500: oops again$"),
        (Answer(status=502, content=b"\xff"), "retry", "^HTTP 502: \ufffd$"),
        (Answer(status=503), "retry", "^HTTP 503$"),
        (Answer(status=599, content=b"x" * 10_000), "retry", "^HTTP 599: x{300}$"),
    ],
    ids=lambda value: f"{value.status} {value.content[:20]!r}" if isinstance(value, Answer) else None,
)
@pytest.mark.parametrize("at", ["GET", "PATCH"])
def test_the_judgement_of_an_answer(answered, kind, words, at):
    said = feedback_from(comment="c")
    before = [log_with(None)] if at == "PATCH" else []
    after = [answer()] if at == "GET" and kind == "delivered" else []

    requests, verdict = walk(CONFIGURED, said, *before, answered, *after)

    assert verdict.kind == kind
    assert (verdict.reason is None) if words is None else re.search(words, verdict.reason)
    assert requests[-1].method == ("PATCH" if kind == "delivered" else at)
    assert verdict.retry_after == (BLOCKED_FOR if answered.status == 429 else None)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30.0), ("0.5", 0.5), ("0", 0.0), ("-1", None), ("nan", None), ("inf", None), ("soon", None), ("", None)],
)
def test_a_service_that_says_when_to_come_back_is_listened_to(header, seconds):
    """One that blocks the token without saying so has it blocked for five minutes."""
    for status, else_ in ((503, None), (429, BLOCKED_FOR)):
        _, verdict = walk(CONFIGURED, feedback_from(thumbs="up"), answer(BAD, status, retry_after=header))

        assert (verdict.kind, verdict.retry_after) == ("retry", else_ if seconds is None else seconds)


# --- over HTTP, against the emulator


@pytest.fixture
def transport():
    opened = HttpxTransport(timeout=5)
    yield opened
    opened.close()


def backend_of(emulator, **settings):
    variables = emulator.environ()
    own = {name: variables[each] for name, each in Cloudflare.environment.items() if each in variables}
    return Cloudflare(**{**own, **settings})


def called(emulator, backend, base_url=None, **headers):
    """Make a call through the emulator's gateway; return what the backend recognises of it."""
    key = emulator.environ()["CLOUDFLARE_API_TOKEN"]
    response = httpx.post(
        f"{base_url or emulator.cloudflare_openai_url}/chat/completions",
        json={"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]},
        headers={"authorization": f"Bearer {key}"} | {name.replace("_", "-"): value for name, value in headers.items()},
    )
    return backend.recognise(
        Exchange(
            method="POST",
            url=str(response.request.url),
            request_headers=response.request.headers,
            response_headers=response.headers,
        )
    )


def test_feedback_lands_on_the_log_of_the_call_beside_the_metadata_it_had(emulator, transport):
    backend = backend_of(emulator)
    ref = called(emulator, backend, cf_aig_metadata='{"tenant": "t-1"}')

    said = feedback_from(thumbs="up", score=0.57, comment="é", scores={"tone": 0.5}, tags=["a", "b"])
    assert sent(carry_out(backend.deliver([(ref, said)]), UNPACED), transport) == Verdict(kind="delivered")

    [log] = emulator.cloudflare_logs()
    assert (log["id"], log["feedback"], log["score"]) == (ref.id, 1, 57)
    assert log["metadata"] == {"tenant": "t-1", "comment": "é", "score.tone": 0.5, "tags": "a,b"}


def test_comments_that_come_one_after_the_other_are_all_kept_below_that_of_the_call(emulator, transport):
    backend = backend_of(emulator)
    ref = called(emulator, backend, cf_aig_metadata='{"comment": "of the call"}')

    for comment in ("first", "second", "second", "third"):  # two people may say the same
        plan = backend.deliver([(ref, feedback_from(comment=comment))])
        assert sent(carry_out(plan, UNPACED), transport).kind == "delivered"

    [log] = emulator.cloudflare_logs()
    assert log["metadata"] == {"comment": "of the call\nfirst\nsecond\nsecond\nthird"}


def test_a_vote_and_a_score_can_be_taken_back(emulator, transport):
    backend = backend_of(emulator)
    ref = called(emulator, backend)

    for said in (feedback_from(thumbs="down", score=0.3), feedback_from(thumbs=None, score=None)):
        assert sent(carry_out(backend.deliver([(ref, said)]), UNPACED), transport).kind == "delivered"

    [log] = emulator.cloudflare_logs()
    assert (log["feedback"], log["score"]) == (0, None)


def test_a_call_by_way_of_the_rest_route_lands_on_the_default_gateway_or_the_one_named(emulator, transport):
    backend = backend_of(emulator, account_id=None, gateway_id=None)
    refs = [
        called(emulator, backend, emulator.cloudflare_rest_url),
        called(emulator, backend, emulator.cloudflare_rest_url, cf_aig_gateway_id="emulator"),
    ]

    for ref in refs:
        assert (
            sent(carry_out(backend.deliver([(ref, feedback_from(thumbs="up"))]), UNPACED), transport).kind
            == "delivered"
        )

    logs = emulator.cloudflare_logs()
    assert [ref.gateway_id for ref in refs] == [log["gateway_id"] for log in logs] == ["default", "emulator"]
    assert [log["feedback"] for log in logs] == [1, 1]


def test_an_unknown_log_is_early_and_a_wrong_token_unauthorized(emulator, transport):
    backend = backend_of(emulator)
    unknown = LogRef(backend="cloudflare", id="nowhere/at all")
    said = feedback_from(thumbs="up")

    assert sent(carry_out(backend.deliver([(unknown, said)]), UNPACED), transport).kind == "early"
    wrong = backend_of(emulator, api_token="wrong-token")
    assert sent(carry_out(wrong.deliver([(unknown, said)]), UNPACED), transport).kind == "unauthorized"
    assert [request.path.rpartition("/")[2] for request in emulator.requests()] == ["nowhere%2Fat%20all"] * 2


# --- whether the feedback is there


def asked(plan, *answers):
    """Carry out a plan with these answers; return its result and the requests."""
    turns, sent = iter(answers), [next(plan)]
    try:
        while True:
            sent.append(plan.send(next(turns)))
    except StopIteration as done:
        assert next(turns, None) is None
        return done.value, sent


def listed(*log_ids):
    return answer({"success": True, "result": [{"id": log_id} for log_id in log_ids]})


def shown(metadata=None, **fields):
    return answer({"success": True, "result": {"id": LOG_ID, "metadata": json.dumps(metadata or {}), **fields}})


def confirmed(*answers, **said):
    return asked(CONFIGURED.confirm(REF, feedback_from(**said)), *answers)


def test_a_vote_that_the_log_shows_is_confirmed_by_one_request():
    found, sent = confirmed(shown(feedback=1), thumbs="up")
    assert (found.status, found.fields, found.reason) == ("confirmed", ("thumbs",), None)
    assert [(request.method, request.url) for request in sent] == [
        ("GET", f"{REST}/accounts/{ACCOUNT}/ai-gateway/gateways/my-gw/logs/{LOG_ID}")
    ]
    assert sent[0].headers["authorization"] == "Bearer cf-secret-token"


def test_a_vote_that_the_log_does_not_show_is_asked_for_by_the_filters_of_the_list():
    found, sent = confirmed(shown(), listed(LOG_ID), thumbs="down")
    assert (found.status, found.fields) == ("confirmed", ("thumbs",))
    assert sent[1].url == (
        f"{REST}/accounts/{ACCOUNT}/ai-gateway/gateways/my-gw/logs?filters.key=id&filters.operator=eq"
        f"&filters.value={LOG_ID}&filters.key=feedback&filters.operator=eq&filters.value=-1"
    )


@pytest.mark.parametrize(
    ("answers", "status", "reason"),
    [
        ([shown(feedback=-1)], "missing", 'thumbs is "down"; feedback that came later may have changed it'),
        ([shown(feedback=None)], "missing", 'thumbs is "no vote"; feedback that came later may have changed it'),
        ([shown(feedback=0.5)], "missing", "thumbs is 0.5; feedback that came later may have changed it"),
        ([shown(), listed(), listed(LOG_ID)], "missing", 'thumbs is "down"; feedback that'),
        ([shown(), listed("other"), listed(), listed(LOG_ID)], "missing", 'thumbs is "no vote"; '),
        ([shown(), listed(), listed(), listed()], "unknown", "Cloudflare does not show: thumbs"),
        ([shown(), answer(status=503)], "unknown", "Cloudflare does not show: thumbs"),
        ([answer({"success": False}, 404)], "missing", "there is no such log, or not yet: HTTP 404"),
        ([answer({"success": False}, 403)], "unknown", "HTTP 403"),
        ([answer(status=502)], "unknown", "HTTP 502"),
    ],
)
def test_a_vote_that_is_not_there_is_missing_and_what_cannot_be_told_is_unknown(answers, status, reason):
    found, _ = confirmed(*answers, thumbs="up")
    assert (found.ref, found.status, found.fields) == (REF, status, ())
    assert found.reason.startswith(reason)


def test_a_vote_that_was_taken_back_is_confirmed_by_there_being_none():
    assert confirmed(shown(feedback=None), thumbs=None)[0].status == "confirmed"
    assert confirmed(shown(), listed(LOG_ID), thumbs=None)[0].status == "confirmed"
    assert confirmed(shown(feedback=1), thumbs=None)[0].status == "missing"


def test_a_score_is_compared_where_the_log_shows_one():
    assert confirmed(shown(score=57), score=0.57)[0].fields == ("score",)
    assert confirmed(shown(score=None), score=None)[0].status == "confirmed"
    assert confirmed(shown(score=50), score=0.57)[0].status == "missing"
    found, _ = confirmed(shown(), score=0.57)
    assert (found.status, found.reason) == ("unknown", "Cloudflare does not show: score")


def test_all_that_goes_to_metadata_is_compared_under_the_names_that_it_was_said_with():
    said = {
        "scores": {"tone": 1.0, "old": None},
        "comment": "b",
        "expected": [1],
        "tags": ["x", "y"],
        "metadata": {"page": 3, "deep": {}},
        "user_id": "u",
        "source": "app",
    }
    held = {"score.tone": 1, "score.old": "", "comment": "a\nb", "expected": "[1]", "tags": "x,y", "page": 3}
    found, _ = confirmed(shown({**held, "user_id": "u", "source": "app", "more": 1}), **said)
    assert found.status == "confirmed"
    fields = {"scores.tone", "scores.old", "comment", "expected", "tags", "metadata.page", "user_id", "source"}
    assert set(found.fields) == fields
    found, _ = confirmed(shown(held | {"page": 4}), metadata={"page": 3})
    assert (found.status, found.reason.partition(";")[0]) == ("missing", "metadata.page is 4")
    assert confirmed(shown({"comment": "ab"}), comment="b")[0].status == "missing"
    assert confirmed(shown(), comment="b")[0].status == "missing"


def test_metadata_that_cannot_be_read_is_unknown():
    unreadable = answer({"success": True, "result": {"metadata": "[1]"}})
    assert confirmed(unreadable, comment="b")[0].reason == "Cloudflare does not show: comment"


# --- how the settings stand


def diagnosed(backend, *answers):
    plan = backend.diagnose()
    if answers:
        findings, sent = asked(plan, *answers)
        return findings, sent
    with pytest.raises(StopIteration) as done:
        next(plan)
    return done.value.value, []


def test_without_any_setting_it_is_simply_not_configured():
    [finding], _ = diagnosed(Cloudflare())
    assert (finding.status, finding.found) == ("ok", "not configured")
    assert "CLOUDFLARE_API_TOKEN" in finding.advice


def test_what_is_missing_of_the_settings_is_named():
    [finding], _ = diagnosed(Cloudflare(account_id="a"))
    assert finding.status == "problem"
    assert "CLOUDFLARE_API_TOKEN" in finding.advice
    [finding], _ = diagnosed(Cloudflare(api_token="t", account_id="a"))
    assert finding.status == "warning"
    assert "CLOUDFLARE_GATEWAY_ID" in finding.found


def test_the_token_is_tried_by_reading_one_log_which_says_nothing_of_writing():
    findings, sent = diagnosed(CONFIGURED, listed())
    assert [finding.status for finding in findings] == ["ok", "ok"]
    assert "cannot be seen by reading" in findings[1].found
    assert [(request.method, request.url) for request in sent] == [
        ("GET", f"{REST}/accounts/own-account/ai-gateway/gateways/own-gateway/logs?per_page=1")
    ]


@pytest.mark.parametrize(
    ("answered", "advice"),
    [
        (answer({"success": False}, 401), "CLOUDFLARE_API_TOKEN"),
        (answer({"success": False}, 403), "AI Gateway Read and Write"),
        (answer({"success": False}, 404), "CLOUDFLARE_GATEWAY_ID"),
        (answer({"success": False}, 429), "five minutes"),
        (answer(status=502), "see whether https://api.cloudflare.com/client/v4"),
        (answer({"success": True, "result": {}}), "see whether"),
        (Answer(status=200, content=b"<html>"), "see whether"),
    ],
)
def test_a_refusal_is_a_problem_with_the_words_of_the_service_and_what_to_do(answered, advice):
    [finding], _ = diagnosed(CONFIGURED, answered)
    assert finding.status == "problem"
    assert advice in finding.advice
    assert "cannot be read: " in finding.found


# tags, by which the log entries of a scope are found


GATEWAY_URL = "https://gateway.ai.cloudflare.com/v1/account/gateway/openai/chat/completions"
TAGGING = Cloudflare(tag_requests=True, gateway_url="https://llm.example/a, https://llm2.example")


def tags(scope_ids, url=GATEWAY_URL, metadata=None, backend=TAGGING):
    headers = {} if metadata is None else {"cf-aig-metadata": metadata}
    told = backend.tag_headers(url, headers, scope_ids)
    assert set(told) <= {"cf-aig-metadata"}
    return json.loads(told["cf-aig-metadata"]) if told else None


def test_scopes_are_tagged_behind_the_callers_own_entries_the_innermost_first():
    assert tags(["in"]) == {"thumbprint.scope_id": "in"}
    tagged = tags(["in", "out"], metadata='{"a": 1, "b": true}')
    assert list(tagged.items()) == [
        ("a", 1),
        ("b", True),
        ("thumbprint.scope_id", "in"),
        ("thumbprint.scope_id.2", "out"),
    ]


@pytest.mark.parametrize(("own", "expected"), [(0, 5), (3, 2), (4, 1), (5, 0), (7, 0)])
def test_no_entry_of_the_callers_is_pushed_out_of_the_five_that_are_kept(own, expected):
    metadata = {f"name{number}": number for number in range(own)}
    tagged = tags([f"scope{number}" for number in range(6)], metadata=json.dumps(metadata)) or metadata
    assert {name: value for name, value in tagged.items() if name in metadata} == metadata
    assert len(tagged) - own == expected


@pytest.mark.parametrize("own", ['{"n": 1e999}', ' { "n" : 0.12345678901234567890 } ', '{"a":{"b":1}}'])
def test_what_the_caller_wrote_stays_as_it_is_written(own):
    [header] = TAGGING.tag_headers(GATEWAY_URL, {"cf-aig-metadata": own}, ["in"]).values()
    assert header == own.rstrip()[:-1].rstrip() + ', "thumbprint.scope_id": "in"}'


@pytest.mark.parametrize("own", ["{}", " { } "])
def test_an_empty_object_of_the_callers_gets_no_comma(own):
    assert tags(["in"], metadata=own) == {"thumbprint.scope_id": "in"}


@pytest.mark.parametrize(("word", "on"), [("1", True), ("on", True), (True, True), ("off", False), (None, False)])
def test_tagging_may_be_switched_on_by_the_environment(word, on):
    backend = Cloudflare(tag_requests=word, api_token="t", account_id="a", gateway_id="g")
    assert backend.finds_scopes == on
    assert (tags(["in"], backend=backend) is not None) == on


@pytest.mark.parametrize("metadata", ["[]", "no JSON", "3", '{"a":', "\x00"])
def test_a_header_of_the_callers_that_is_no_json_object_is_left_as_it_is(metadata):
    assert tags(["in"], metadata=metadata) is None


def test_an_entry_of_the_callers_that_bears_the_name_wins():
    assert tags(["in"], metadata='{"thumbprint.scope_id": "mine"}') is None
    assert tags(["in", "out"], metadata='{"thumbprint.scope_id": "mine"}') == {
        "thumbprint.scope_id": "mine",
        "thumbprint.scope_id.2": "out",
    }


@pytest.mark.parametrize(
    ("url", "known"),
    [
        (GATEWAY_URL, True),
        ("https://api.cloudflare.com/client/v4/accounts/a/ai/v1/chat/completions", True),
        ("https://api.cloudflare.com/client/v4/accounts/a/ai/run/@cf/x", True),
        ("https://api.cloudflare.com/client/v4/accounts/a/workers", False),
        ("https://llm.example/a/chat/completions", True),
        ("https://llm.example/ab/chat/completions", False),
        ("https://llm2.example/chat/completions", True),
        ("https://gateway.ai.cloudflare.com.example/v1/a/b/openai", False),
        ("https://api.openai.com/v1/chat/completions", False),
    ],
)
def test_only_known_gateways_are_told_the_scopes(url, known):
    assert (tags(["in"], url=url) is not None) == known


def test_nothing_is_tagged_unless_it_is_asked_for_or_where_there_is_no_scope_or_no_room_in_a_header():
    assert tags(["in"], backend=Cloudflare()) is None
    assert tags([]) is None
    assert tags(["x" * 5000]) is None


def test_a_tag_is_ascii_whatever_the_scopes_id():
    [header] = TAGGING.tag_headers(GATEWAY_URL, {}, ["Zürich 👍"]).values()
    assert header.isascii()
    assert json.loads(header) == {"thumbprint.scope_id": "Zürich 👍"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tag_requests": "maybe"}, "CLOUDFLARE_TAG_REQUESTS .* is 'maybe': say 1, true, yes, on, or 0"),
        ({"tag_requests": 2}, "is 2: say 1"),
        ({"ingestion_lag": -1}, "ingestion_lag=-1"),
        ({"ingestion_lag": 51.0}, "from 0 to 50"),
        ({"ingestion_lag": True}, "ingestion_lag=True"),
        ({"ingestion_lag": "5"}, "ingestion_lag='5'"),
        ({"ingestion_lag": float("nan")}, "ingestion_lag=nan"),
        ({"gateway_url": "ftp://llm.example"}, "CLOUDFLARE_GATEWAY_URL"),
    ],
)
def test_settings_of_tags_that_cannot_be_used_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        Cloudflare(**settings)


def test_logs_that_say_less_than_they_should_are_found_all_the_same():
    backend = Cloudflare(api_token="t", account_id="a", gateway_id="g")
    plan = backend.find(Wanted())
    next(plan)
    logs = [
        {"id": "1", "created_at": "no date", "metadata": "no JSON", "model": 3},
        {"id": "2"},
        {"id": ""},
        {"id": "line\nbreak"},
        {"no": "id"},
        {"id": "3", "created_at": "2026-11-24T10:00:00Z", "path": "embeddings", "success": False, "metadata": None},
    ]
    with pytest.raises(StopIteration) as done:
        plan.send(Answer(status=200, content=json.dumps({"success": True, "result": logs}).encode()))
    found = {entry.ref.id: entry for entry in done.value.value}
    assert list(found) == ["2", "1", "3"]
    assert (found["1"].ref.captured_at, found["1"].metadata, found["1"].model) == (0.0, {}, None)
    assert (found["2"].success, found["2"].ref.operation) == (True, None)
    assert (found["3"].success, found["3"].ref.operation, found["3"].ref.captured_at) == (
        False,
        "embeddings",
        1795514400.0,
    )


def test_a_search_that_finds_little_does_not_read_all_the_logs_there_are():
    plan = Cloudflare(api_token="t", account_id="a", gateway_id="g").find(Wanted(scope_id="s"))
    page = json.dumps({"success": True, "result": [{"id": str(number)} for number in range(50)]}).encode()
    urls = {next(plan).url} | {plan.send(Answer(status=200, content=page)).url for _ in range(19)}
    with pytest.raises(StopIteration) as done:
        plan.send(Answer(status=200, content=page))
    assert done.value.value == []
    assert len(urls) == 20


def test_of_logs_that_are_written_in_the_same_second_the_order_of_the_list_counts():
    plan = Cloudflare(api_token="t", account_id="a", gateway_id="g").find(Wanted())
    next(plan)
    logs = [{"id": name, "created_at": "2026-11-24T10:00:00Z"} for name in ("latest", "earlier", "earliest")]
    with pytest.raises(StopIteration) as done:
        plan.send(Answer(status=200, content=json.dumps({"success": True, "result": logs}).encode()))
    assert [entry.ref.id for entry in done.value.value] == ["earliest", "earlier", "latest"]
