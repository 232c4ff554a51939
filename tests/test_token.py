"""Feedback tokens: what they carry, who may use them, and what is refused."""

from __future__ import annotations

import dataclasses
import string
import traceback

import pytest
import sdk
from hypothesis import given, settings
from hypothesis import strategies as st

import thumbprint
from thumbprint import (
    Braintrust,
    Cloudflare,
    LogRef,
    MalformedTokenError,
    Thumbprint,
    TokenError,
    TokenExpiredError,
    TokenFieldError,
    TokenSignatureError,
    _token,
)
from thumbprint._token import FIELDS, Grant, Keys, issue, read

SECRET = "sixteen bytes or more"
KEYS = Keys([SECRET])
HOMES = {"cloudflare": {"account_id": "0" * 32, "gateway_id": "production"}, "braintrust": {"project_name": "Sales"}}
REF = LogRef(
    backend="cloudflare",
    id="01JADMCQQQBWH3NXZ5GCRN98DP",
    operation="chat",
    account_id="0" * 32,
    gateway_id="production",
    response_id="chatcmpl-BabcdefghijklmnopqrstuvwxyZ01",
    trace_id="ab" * 16,
    span_id="cd" * 8,
    captured_at=1764000000.0,
)
GRANT = Grant(allow=("thumbs",), expires_at=2_000_000_000, refs=(REF,))
TOKEN = issue(GRANT, KEYS, HOMES)

names = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=40)
words = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=40)
texts = st.none() | words | st.sampled_from(["0" * 32, "production", "Sales", "chat", "ab" * 16, "abc"])
texts |= st.uuids().map(str) | st.binary(max_size=20).map(bytes.hex)
refs = st.builds(
    LogRef,
    backend=st.sampled_from(["cloudflare", "braintrust"]) | names,
    id=names | st.uuids().map(str),
    captured_at=st.integers(0, 2**40).map(float),
    **dict.fromkeys(
        ["operation", "account_id", "gateway_id", "project_id", "project_name", "experiment_id", "response_id",
         "trace_id", "span_id"], texts,
    ),
)  # fmt: skip
allowed = st.sets(st.sampled_from(FIELDS), min_size=1).map(lambda some: tuple(name for name in FIELDS if name in some))
whichs = st.sampled_from(["last", "all"])
times = st.integers(1, 2**40)
grants = st.builds(
    Grant, allow=allowed, expires_at=times, refs=st.lists(refs, min_size=1, max_size=3).map(tuple), which=whichs
) | st.builds(Grant, allow=allowed, expires_at=times, scope_id=st.text(min_size=1, max_size=200), which=whichs)


@pytest.fixture
def own():
    backends = [Cloudflare(api_token="t", account_id="0" * 32, gateway_id="production"), Braintrust(api_key="k")]
    with_secret = Thumbprint(backends=backends, store="memory://", secret=SECRET)
    yield with_secret
    with_secret.close(0)


@given(grants)
def test_what_is_issued_is_read_again(grant):
    token = issue(grant, KEYS, HOMES)
    assert read(token, KEYS, HOMES, now=0) == grant
    assert set(token) <= set(f"{string.ascii_letters}{string.digits}-_.")
    assert _token.is_token(token)


@given(st.integers(0, len(TOKEN) - 1), st.characters())
def test_any_changed_character_is_refused(place, character):
    changed = TOKEN[:place] + character + TOKEN[place + 1 :]
    if changed != TOKEN:
        with pytest.raises(TokenError):
            read(changed, KEYS, HOMES, now=0)


@given(st.integers(0, len(TOKEN) - 1))
def test_a_token_that_was_cut_off_is_refused(length):
    for part in (TOKEN[:length], TOKEN[length + 1 :], f"{TOKEN}="):
        with pytest.raises(TokenError):
            read(part, KEYS, HOMES, now=0)


hostile = st.text(max_size=300) | st.text(f"tp12.-_{string.ascii_letters}\n", max_size=300).map("tp1.".__add__)
hostile |= st.text(string.ascii_letters, min_size=1).map(lambda text: f"tp1.{text}.{text}")


@settings(max_examples=5_000, deadline=None)
@given(hostile)
def test_a_hostile_text_is_refused_with_no_other_error(text):
    with pytest.raises(TokenError):
        read(text, KEYS, HOMES, now=0)


@settings(max_examples=5_000, deadline=None)
@given(st.text(f"{string.ascii_letters}{string.digits}-_", min_size=1, max_size=60))
def test_what_was_signed_and_makes_no_sense_is_refused_with_no_other_error(payload):
    text = f"tp1.{payload}"
    try:
        read(f"{text}.{KEYS.signature(text)}", KEYS, HOMES, now=2**50)
    except TokenError:
        return
    pytest.fail("it was taken")


@pytest.mark.parametrize(
    "payload",
    ["AQE", "gQQB", "gQIBEQ", "gQIBAA", "gAAB", "AQEQBA", "__________8", "A", "AQEQCQFh"],
    ids=["names nothing", "unknown flags", "ends early", "a scope without id", "no time", "half a ref", "a huge number",
         "no base64", "half an id"],
)  # fmt: skip
def test_a_signed_payload_that_is_broken_is_malformed(payload):
    text = f"tp1.{payload}"
    with pytest.raises(MalformedTokenError, match="cannot be read"):
        read(f"{text}.{KEYS.signature(text)}", KEYS, HOMES, now=0)


def test_a_token_expires_at_its_second():
    assert read(TOKEN, KEYS, HOMES, now=1_999_999_999.9) == GRANT
    with pytest.raises(TokenExpiredError, match="expired 5 seconds ago") as caught:
        read(TOKEN, KEYS, HOMES, now=2_000_000_005)
    assert caught.value.expired_at == 2_000_000_000


def test_another_secret_is_refused_and_a_rotated_one_is_not():
    with pytest.raises(TokenSignatureError, match="THUMBPRINT_SECRET"):
        read(TOKEN, Keys(["another secret, long enough"]), HOMES, now=0)
    rotated = Keys(["another secret, long enough", SECRET])
    assert read(TOKEN, rotated, HOMES, now=0) == GRANT
    assert read(issue(GRANT, rotated, HOMES), Keys(["another secret, long enough"]), HOMES, now=0) == GRANT


def test_a_token_of_a_future_version_is_told_as_that():
    with pytest.raises(MalformedTokenError, match="is of version 2, this thumbprint reads version 1"):
        read(f"tp2{TOKEN[3:]}", KEYS, HOMES, now=0)


def test_what_is_longer_than_4_kib_is_neither_issued_nor_read():
    many = tuple(dataclasses.replace(REF, id=f"{number:0100}") for number in range(60))
    with pytest.raises(thumbprint.ArgumentValueError, match=r"60 log entries would have \d+ characters: at most 4096"):
        issue(dataclasses.replace(GRANT, refs=many), KEYS, HOMES)
    with pytest.raises(thumbprint.ArgumentValueError, match="this scope's id"):
        issue(Grant(allow=("thumbs",), expires_at=1, scope_id="ä" * 2000), KEYS, HOMES)
    with pytest.raises(MalformedTokenError, match="at most 4096 characters"):
        read(f"tp1.{'A' * 4096}.A", KEYS, HOMES, now=0)


def test_a_usual_token_is_short_and_names_neither_account_nor_gateway():
    assert len(TOKEN) <= 200
    elsewhere = {"cloudflare": {"account_id": "1" * 32}}
    [ref] = read(TOKEN, KEYS, elsewhere, now=0).refs
    assert ref == dataclasses.replace(REF, account_id="1" * 32, gateway_id=None)


@pytest.mark.parametrize("captured_at", [-1.0, float("inf"), 1e300])
def test_a_time_of_capture_that_cannot_be_is_left_out(captured_at):
    token = issue(dataclasses.replace(GRANT, refs=(dataclasses.replace(REF, captured_at=captured_at),)), KEYS, HOMES)
    assert read(token, KEYS, HOMES, now=0).refs[0].captured_at == 0


# through the public names


@pytest.fixture
def client(emulator, monkeypatch):
    monkeypatch.setenv("THUMBPRINT_SECRET", f"{SECRET}, {SECRET} before")
    with thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url)) as wrapped:
        yield wrapped


def ask(client):
    return client.chat.completions.create(model="gpt-5", messages=sdk.asked())


def refs_of(target, **said):
    receipt = thumbprint.record_feedback(target, **said or {"thumbs": "up"})
    return [outcome.ref for outcome in receipt.outcomes]


def test_a_vote_by_token_lands_on_the_last_call_of_the_scope(emulator, client):
    with thumbprint.scope() as scope:
        ask(client)
        ask(client)
        client.embeddings.create(model="text-embedding-3-small", input="Ulm")
    receipt = thumbprint.record_feedback(scope.token(), thumbs="up", user_id="u-17").wait(10)
    assert [outcome.ref.id for outcome in receipt.outcomes] == [scope.refs[1].id]
    assert receipt.status == "delivered"


def test_a_token_needs_no_store(emulator, client):
    with thumbprint.scope() as scope:
        token = [ask(client), scope.token()][1]
    thumbprint.configure(store="memory://")
    assert [ref.id for ref in refs_of(token)] == [scope.last.id]


def test_a_token_that_was_issued_before_the_call_leads_to_it(emulator, client):
    with thumbprint.scope() as scope:
        early = scope.token()
        all_of_them = thumbprint.token_for(which="all")
        with pytest.raises(thumbprint.UnknownTargetError, match="the token leads to the scope"):
            thumbprint.record_feedback(early, thumbs="up")
        ask(client)
        ask(client)
    assert refs_of(early) == [scope.last]
    assert refs_of(all_of_them) == list(scope.refs)


def test_a_tokens_scope_is_never_taken_for_another_kind_of_id(emulator, client):
    completion = ask(client)
    token = thumbprint.scope(id=completion.id).token()
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(token, thumbs="up")


def test_each_call_of_a_decorated_function_can_issue_a_token(emulator, client):
    @thumbprint.scope()
    def chat():
        ask(client)
        return thumbprint.current_scope()

    scope = chat()
    assert [ref.id for ref in refs_of(scope.token())] == [scope.last.id]


def test_a_token_can_be_issued_for_any_target(emulator, client):
    with thumbprint.scope():
        completion = ask(client)
    [expected] = refs_of(completion)
    for target in (completion, completion.id, expected, [expected]):
        assert [ref.id for ref in refs_of(thumbprint.token_for(target))] == [expected.id]
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.token_for("message-43")
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.token_for()
    with pytest.raises(thumbprint.ArgumentValueError, match="a token already"):
        thumbprint.token_for(thumbprint.token_for(completion))


@pytest.mark.parametrize("around", [" {}", "Bearer {}", "https://app.example/vote?token={}&thumbs=up", '"{}"'])
def test_a_token_that_is_not_handed_on_alone_is_not_shown(own, around):
    token = own.token_for(REF)
    with pytest.raises(thumbprint.UnknownTargetError, match="a text with a token in it") as caught:
        own.record_feedback(around.format(token), thumbs="up")
    assert token[5:15] not in str(caught.value)


def test_a_thumbprint_of_ones_own_issues_and_takes_its_own(own):
    token = own.token_for(REF)
    with pytest.raises(thumbprint.MissingSecretError):
        thumbprint.record_feedback(token, thumbs="up")
    assert [outcome.ref for outcome in own.record_feedback(token, thumbs="up").outcomes] == [REF]
    assert own.granted(own.scope("message-42").token()).scope_id == "message-42"


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"thumbs": "up", "score": 1, "expected": None}, "score"),
        ({"thumbs": "up", "scores": {"a": 1}}, "scores"),
        ({"comment": "c", "thumbs": None}, "comment"),
        ({"expected": "e"}, "expected"),
        ({"tags": []}, "tags"),
        ({"metadata": {"page": "/"}}, "metadata"),
    ],
)
def test_a_field_that_the_token_does_not_allow_is_refused(own, said, field):
    token = own.token_for(REF, allow=["thumbs"])
    with pytest.raises(TokenFieldError, match=f"allows thumbs, and not {field}") as caught:
        own.record_feedback(token, **said)
    assert (caught.value.field, caught.value.allowed) == (field, ("thumbs",))
    assert own.flush(0).remaining == 0


def test_every_field_can_be_allowed_and_the_servers_own_words_always_are(own):
    token = own.token_for(REF, allow=set(FIELDS))
    said = {"thumbs": "up", "score": 1, "scores": {"a": 1}, "comment": "c", "expected": 1, "tags": ["t"]}
    assert own.record_feedback(token, metadata={"a": 1}, user_id="u", source="app", **said).outcomes[0].ref == REF


@pytest.mark.parametrize("allow", ["thumbs", b"thumbs", {"thumbs": 1}, None, 1])
def test_allow_takes_a_list(own, allow):
    with pytest.raises(thumbprint.ArgumentTypeError, match=r"allow=.*it takes a list") as caught:
        own.token_for(REF, allow=allow)
    assert caught.value.argument == "allow"


@pytest.mark.parametrize("allow", [[], ["thumbs", "user_id"], ["Thumbs"], [1], [None]])
def test_allow_takes_known_fields_and_not_none_of_them(own, allow):
    with pytest.raises(thumbprint.ArgumentValueError, match="give some of thumbs, score") as caught:
        own.token_for(REF, allow=allow)
    assert caught.value.argument == "allow"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 3650 * 86400 + 1, 10**400])
def test_a_lifetime_is_more_than_nothing_and_bounded(own, seconds):
    with pytest.raises(thumbprint.ArgumentValueError, match="expires_in="):
        own.token_for(REF, expires_in=seconds)


@pytest.mark.parametrize("seconds", ["60", None, True])
def test_a_lifetime_is_a_number(own, seconds):
    with pytest.raises(thumbprint.ArgumentTypeError, match="expires_in="):
        own.token_for(REF, expires_in=seconds)


def test_without_a_secret_the_error_says_how_to_make_one(emulator):
    with pytest.raises(thumbprint.MissingSecretError, match=r"set THUMBPRINT_SECRET.*secrets\.token_urlsafe") as caught:
        thumbprint.scope().token()
    assert caught.value.variable == "THUMBPRINT_SECRET"
    with pytest.raises(thumbprint.MissingSecretError):
        thumbprint.record_feedback(TOKEN, thumbs="up")


def test_a_scope_that_no_thumbprint_made_issues_none():
    with pytest.raises(thumbprint.ConfigurationError, match="without a Thumbprint"):
        thumbprint.Scope().token()


def test_where_thumbprint_is_disabled_tokens_are_issued_without_a_secret_and_lead_nowhere():
    off = Thumbprint(disabled=True)
    token = off.scope().token()
    assert off.record_feedback(token, thumbs="up").status == "dropped"
    assert off.record_feedback(off.token_for("anything"), thumbs="up").status == "dropped"


# secrets stay in


@pytest.mark.parametrize("secret", ["", "short", f"{SECRET},", f",{SECRET}", f"{SECRET},,{SECRET}", f"{SECRET},sho rt"])
def test_an_empty_or_short_secret_is_refused(secret):
    with pytest.raises(thumbprint.ConfigurationError, match=r"THUMBPRINT_SECRET.*less than 16 bytes"):
        Thumbprint(secret=secret)


def test_a_secret_that_is_no_string_is_refused():
    with pytest.raises(thumbprint.ConfigurationError, match="is of type bytes"):
        Thumbprint(secret=SECRET.encode())


def shown(error):
    """Return the traceback with all locals but those of this file."""
    stack = traceback.TracebackException.from_exception(error, capture_locals=True)
    stack.stack = traceback.StackSummary.from_list([frame for frame in stack.stack if frame.filename != __file__])
    return "".join(stack.format())


@pytest.mark.parametrize(
    "settings",
    [{"secret": "hidden"}, {"secret": b"hidden"}, {"secret": "hidden-and-long-enough", "store": "nowhere"},
     {"secret": "hidden-and-long-enough,hidden"}],
)  # fmt: skip
@pytest.mark.parametrize("configure", [Thumbprint, thumbprint.configure])
def test_no_traceback_shows_a_secret_that_is_given(configure, settings):
    with pytest.raises(thumbprint.ConfigurationError) as caught:
        configure(**settings)
    assert "hidden" not in shown(caught.value)


def test_no_traceback_shows_a_secret_of_the_environment(monkeypatch):
    monkeypatch.setenv("THUMBPRINT_SECRET", "hidden")
    with pytest.raises(thumbprint.ConfigurationError) as caught:
        Thumbprint()
    assert "hidden" not in shown(caught.value)
    monkeypatch.setenv("THUMBPRINT_SECRET", "hidden-and-long-enough")
    with pytest.raises(thumbprint.ConfigurationError) as caught:
        Thumbprint(store="nowhere")
    assert "hidden" not in shown(caught.value)


def test_no_repr_and_no_refusal_shows_the_secret_or_the_signature(own):
    assert SECRET not in repr(own._settings)
    assert repr(own._settings.keys) == "<Keys: 1>"
    token = own.token_for(REF)
    with pytest.raises(TokenSignatureError) as caught:
        own.record_feedback(f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'}", thumbs="up")
    assert SECRET not in shown(caught.value)
    assert token not in shown(caught.value)


def test_the_environment_can_be_listed_but_not_seen():
    from thumbprint._config import ENVIRONMENT  # noqa: PLC0415

    assert len(ENVIRONMENT) == len(list(ENVIRONMENT))
    assert "PATH" not in repr(ENVIRONMENT)


def test_a_backend_of_ones_own_need_not_know_its_home():
    from thumbprint.backends import known_home  # noqa: PLC0415

    assert known_home(object()) == {}
    assert known_home(Cloudflare(account_id="a")) == {"account_id": "a"}
    assert known_home(Braintrust(parent="project_name:Sales")) == {"project_name": "Sales"}
    assert known_home(Braintrust(parent="playground_id:6b1f0c9e-6f5a-4f0e-9f0a-3f0d5f1c2b3a")) == {}
