"""What every backend keeps to, and the judgements that backends share."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Generator, Mapping

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbprint import ConfigurationError, LogRef, errors
from thumbprint._feedback import feedback_from
from thumbprint.backends import Answer, Braintrust, Cloudflare, Exchange, HttpRequest, Verdict, judge
from thumbprint.backends._protocol import checked_id, url_lies_under

SECRET = "the-key-of-the-service"
MADE = {
    "cloudflare": (Cloudflare, {"api_token": SECRET, "account_id": "account", "gateway_id": "gateway"}),
    "braintrust": (Braintrust, {"api_key": SECRET, "parent": "project_name:p"}),
}
KINDS = {"delivered", "retry", "early", "unauthorized", "refused"}

HEADER_NAMES = [
    *("cf-aig-log-id", "cf-aig-cache-status", "cf-aig-gateway-id"),
    *("x-bt-span-id", "x-bt-span-export", "x-bt-cached", "x-bt-parent"),
]
HEADERS = st.dictionaries(
    st.sampled_from(HEADER_NAMES),
    st.text() | st.sampled_from(["HIT", "project_name:p", "AwIBAREREREiIkMzhERVVVVVVVU=", "01J"]),
)
URLS = st.text() | st.builds(
    "{}{}".format,
    st.sampled_from(["https://gateway.ai.cloudflare.com", "https://api.cloudflare.com/client/v4", "http://h", "//["]),
    st.text(st.characters(codec="utf-8"), max_size=30).map("/v1/{}".format),
)
FEEDBACK = st.fixed_dictionaries(
    {"thumbs": st.sampled_from(["up", "down", None])},
    optional={
        "score": st.none() | st.floats(0, 1),
        "scores": st.dictionaries(st.sampled_from(["a", "b"]), st.none() | st.floats(0, 1)),
        "comment": st.text(),
        "expected": st.none() | st.integers() | st.lists(st.text()),
        "tags": st.lists(st.text(min_size=1)),
        "metadata": st.dictionaries(st.sampled_from(["a", "comment"]), st.none() | st.text() | st.lists(st.integers())),
        "user_id": st.text(min_size=1),
        "source": st.sampled_from(["app", "api", "external"]),
    },
).map(lambda arguments: feedback_from(**arguments))
ANSWERS = st.builds(
    Answer,
    status=st.integers(200, 599),
    headers=st.fixed_dictionaries({}, optional={"retry-after": st.text() | st.integers().map(str)}),
    content=st.binary()
    | st.sampled_from(
        [
            b'{"success": true, "result": {}}',
            b'{"success": true, "result": {"metadata": "{}"}}',
            b'{"objects": [{"id": "i", "name": "p"}]}',
            b'{"status": "success"}',
            b"null",
            b"[]",
        ]
    ),
)


@pytest.fixture(params=MADE)
def backend(request):
    kind, settings = MADE[request.param]
    return kind(**settings)


def ref_of(backend):
    return LogRef(backend=backend.name, id="entry")


def exchange(url="https://h", request_headers=None, response_headers=None):
    return Exchange(
        method="POST", url=url, request_headers=request_headers or {}, response_headers=response_headers or {}
    )


def test_no_repr_of_an_exchange_shows_what_the_application_opens_its_gateway_with():
    url, headers = f"https://h/v1?key={SECRET}", {"cf-aig-authorization": f"Bearer {SECRET}"}
    assert SECRET not in repr(exchange(url, headers, {"x-echo": SECRET}))


def test_its_name_is_a_word_and_its_id_headers_are_in_lower_case(backend):
    assert backend.name.isidentifier()
    assert backend.id_headers
    assert all(header == header.lower() for header in backend.id_headers)
    assert backend.batch_size >= 1


def test_its_environment_names_a_variable_for_each_setting_but_numbers_and_functions_and_nothing_else(backend):
    others = {"pace", "ingestion_lag", "redact"}
    settings = {spec.name for spec in dataclasses.fields(backend) if spec.init} - others

    assert isinstance(backend.environment, Mapping)
    assert set(backend.environment) == settings
    assert all(variable.startswith(f"{backend.name.upper()}_") for variable in backend.environment.values())


def test_left_without_settings_it_has_none_so_that_the_environment_can_fill_them_in(backend):
    bare = type(backend)()

    assert all(getattr(bare, setting) is None for setting in backend.environment)
    assert dataclasses.replace(bare, **MADE[backend.name][1]) == backend


def test_it_is_equal_to_its_copy_and_hides_its_key_in_repr(backend):
    assert copy.copy(backend) == backend
    assert SECRET not in repr(backend)


def test_an_answer_without_its_id_headers_tells_of_no_entry(backend):
    answered = exchange("https://[broken", response_headers=httpx.Headers({"x-other": "1"}))

    assert backend.recognise(answered) is None
    assert backend.repeats(answered) is False


@pytest.mark.parametrize("name", MADE)
@given(url=URLS, request_headers=HEADERS, response_headers=HEADERS)
def test_whatever_an_answer_says_it_is_recognised_passed_over_or_a_value_error(
    name, url, request_headers, response_headers
):
    kind, settings = MADE[name]
    for backend in (kind(), kind(**settings)):
        answered = exchange(url, request_headers, response_headers)
        assert backend.repeats(answered) in {True, False}
        try:
            ref = backend.recognise(answered)
        except ValueError:
            continue
        if ref is not None:
            assert ref.backend == name
            assert ref.id in {response_headers[header] for header in backend.id_headers}
            assert LogRef.from_dict(json.loads(json.dumps(ref.to_dict()))) == ref
            assert isinstance(backend.destination(ref), str)


def test_a_request_to_a_stranger_is_left_alone(backend):
    assert backend.request_headers("https://api.openai.com/v1/responses", httpx.Headers()) == {}


def test_the_check_passes_with_all_settings_and_fails_without_naming_a_variable_of_its_environment(backend):
    backend.check(ref_of(backend))

    with pytest.raises(errors.MissingCredentialsError) as caught:
        type(backend)().check(ref_of(backend))
    assert caught.value.variable in backend.environment.values()
    assert caught.value.variable in str(caught.value)
    assert caught.value.variable in {backend.environment[setting] for setting in MADE[backend.name][1]}


def test_no_message_of_a_failed_check_shows_the_key(backend):
    for setting in MADE[backend.name][1]:
        lacking = dataclasses.replace(backend, **{setting: None})
        with pytest.raises(errors.MissingCredentialsError) as caught:
            lacking.check(ref_of(backend))
        assert SECRET not in str(caught.value)


def test_a_plan_is_a_value_that_does_nothing_until_it_is_carried_out(backend):
    plan = backend.deliver([(ref_of(backend), feedback_from(thumbs="up", comment="c"))])

    assert isinstance(plan, Generator)
    request = next(plan)
    assert isinstance(request, HttpRequest)
    assert request.url.startswith("https://")
    assert any(SECRET in value for value in request.headers.values())
    assert SECRET not in f"{request!r} {request.url} {request.json}"


def walked(plan, answers):
    """Carry out the plan by hand, with requests that JSON can tell; return its verdict."""
    json.dumps(next(plan).json, allow_nan=False)
    for answer in answers:
        try:
            json.dumps(plan.send(answer).json, allow_nan=False)
        except StopIteration as done:
            return done.value
    raise AssertionError("the plan wants more answers")


@pytest.mark.parametrize("name", MADE)
@given(feedback=FEEDBACK, answers=st.lists(ANSWERS, min_size=3, max_size=3))
def test_whatever_the_service_answers_the_plan_ends_in_a_verdict_that_shows_no_key(name, feedback, answers):
    kind, settings = MADE[name]
    backend = kind(**settings)
    plan = backend.deliver([(ref_of(backend), feedback)])

    verdict = walked(plan, answers)

    assert isinstance(verdict, Verdict)
    assert verdict.kind in KINDS
    assert (verdict.reason is None) == (verdict.kind == "delivered")
    assert SECRET not in (verdict.reason or "")
    assert verdict.retry_after is None or 0 <= verdict.retry_after < float("inf")


@pytest.mark.parametrize("name", MADE)
@given(feedback=FEEDBACK)
def test_what_is_unsupported_is_told_by_the_names_that_were_said(name, feedback):
    kind, settings = MADE[name]

    assert set(kind(**settings).unsupported(feedback)) <= feedback.said()


# --- shared judgements


@given(st.integers(100, 599), st.binary(max_size=5000))
def test_the_status_decides_and_the_words_of_the_service_are_told_in_short(status, content):
    verdict = judge(Answer(status=status, content=content))

    if 200 <= status < 300:
        assert verdict == Verdict(kind="delivered")
    else:
        assert verdict.kind in KINDS - {"delivered", "early"}
        assert verdict.reason.startswith(f"HTTP {status}")
        assert len(verdict.reason) <= 310
        assert verdict.reason.isprintable()


def test_words_of_a_service_that_a_terminal_would_obey_are_told_as_they_are_written():
    verdict = judge(Answer(status=400, content="go \x1b[2J\x00\x9b\u202eon\u2028with\n😀".encode()))
    assert verdict.reason == "HTTP 400: go \\x1b[2J\\x00\\x9b\\u202eon with 😀"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_reads_as_none(content):
    assert Answer(status=200, content=content).json() is None


@pytest.mark.parametrize(
    ("url", "base", "expected"),
    [
        ("https://h/a/b", "https://h/a", True),
        ("https://h/a", "https://h/a/", True),
        ("https://h", "https://h/", True),
        ("https://H/a", "HTTPS://h/a", True),
        ("https://h:443/a", "https://h/a", True),
        ("http://h/a", "http://h:80/a", True),
        ("https://h/ab", "https://h/a", False),
        ("https://h/A", "https://h/a", False),
        ("http://h/a", "https://h/a", False),
        ("https://h:80/a", "https://h/a", False),
        ("https://h.evil/a", "https://h/a", False),
        ("https://user@h/a", "https://h/a", True),
        ("https://h@evil/a", "https://h/a", False),
        ("ftp://h/a", "ftp://h/a", True),
    ],
)
def test_a_url_lies_under_a_base_of_the_same_origin_by_whole_path_segments(url, base, expected):
    assert url_lies_under(url, base) is expected


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "host/x", "https://", "https://user:pw@host", "https://host:x", "//host"]
)
@pytest.mark.parametrize(
    ("kind", "setting"), [(Cloudflare, "base_url"), (Braintrust, "api_url"), (Braintrust, "gateway_url")]
)
def test_a_url_that_cannot_be_used_is_refused_without_being_shown(kind, setting, url):
    with pytest.raises(ConfigurationError, match=kind.environment[setting]) as caught:
        kind(**{setting: url})
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("secret", ["with space", "line\nbreak", "tab\t", "é", "nul\x00"])
@pytest.mark.parametrize(("kind", "setting"), [(Cloudflare, "api_token"), (Braintrust, "api_key")])
def test_a_key_that_no_header_takes_is_refused_without_being_shown(kind, setting, secret):
    with pytest.raises(ConfigurationError, match=kind.environment[setting]) as caught:
        kind(**{setting: secret})
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [(Cloudflare, "account_id"), (Cloudflare, "gateway_id"), (Cloudflare, "base_url"), (Braintrust, "parent")],
)
@pytest.mark.parametrize("value", ["a\udcff", "a\nb", "\x00", "a\x9b31m"])
def test_a_setting_with_characters_that_no_log_entry_s_home_has_is_refused(kind, setting, value):
    with pytest.raises(ConfigurationError, match=f"{kind.environment[setting]}.* has control characters"):
        kind(**{setting: value})


@pytest.mark.parametrize(("kind", "setting"), [(Cloudflare, "account_id"), (Braintrust, "parent")])
def test_a_setting_of_another_type_is_refused(kind, setting):
    with pytest.raises(ConfigurationError, match="it takes a string"):
        kind(**{setting: 5})


@pytest.mark.parametrize(
    "ref",
    [
        LogRef(backend="cloudflare", id=".."),
        LogRef(backend="cloudflare", id="01J", account_id=".."),
        LogRef(backend="cloudflare", id="01J", gateway_id="."),
        LogRef(backend="braintrust", id="row", project_id=".."),
        LogRef(backend="braintrust", id="row", experiment_id="."),
    ],
)
def test_a_dot_segment_never_comes_into_a_url(ref):
    made = {
        "cloudflare": Cloudflare(api_token="t", account_id="a", gateway_id="g"),
        "braintrust": Braintrust(api_key="k"),
    }
    with pytest.raises(ConfigurationError):
        made[ref.backend].check(ref)


def test_an_id_that_is_a_dot_segment_is_no_id():
    with pytest.raises(ValueError, match="holds no id"):
        checked_id("cf-aig-log-id", "..")


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_verdict_asks_for_no_impossible_wait(seconds):
    with pytest.raises(ValueError, match="retry_after"):
        Verdict(kind="retry", retry_after=seconds)
