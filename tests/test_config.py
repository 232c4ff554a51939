from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import pytest

import thumbprint
from thumbprint import Braintrust, Cloudflare, ConfigurationError, OpenTelemetry, Pace, StoreError
from thumbprint._config import settings_from
from thumbprint.stores import BufferedStore, MemoryStore, RedisStore, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Mapping

EVERYTHING = {
    "CLOUDFLARE_API_TOKEN": "cf-secret",
    "CLOUDFLARE_ACCOUNT_ID": "account",
    "CLOUDFLARE_GATEWAY_ID": "gateway",
    "CLOUDFLARE_BASE_URL": "https://cloudflare.test/client/v4",
    "BRAINTRUST_API_KEY": "bt-secret",
    "BRAINTRUST_API_URL": "https://braintrust.test",
    "BRAINTRUST_PARENT": "project_name:Sales",
    "BRAINTRUST_GATEWAY_URL": "https://gateway.test",
}


def test_without_any_setting_both_services_are_known_and_the_store_is_in_memory():
    settings = settings_from(environ={})
    assert settings.backends == {"cloudflare": Cloudflare(), "braintrust": Braintrust()}
    assert isinstance(settings.store, MemoryStore)
    assert settings.disabled is False


def test_the_environment_completes_every_setting_of_the_backends():
    settings = settings_from(environ=EVERYTHING)
    for backend in settings.backends.values():
        for setting, variable in backend.environment.items():
            if variable in EVERYTHING:
                assert getattr(backend, setting) == EVERYTHING[variable]
    assert settings.backends["cloudflare"].api_token == "cf-secret"
    assert settings.backends["braintrust"].api_key == "bt-secret"


def test_an_argument_comes_before_the_environment_and_the_rest_is_completed():
    [backend] = settings_from(backends=[Cloudflare(api_token="mine")], environ=EVERYTHING).backends.values()
    assert backend.api_token == "mine"
    assert backend.account_id == "account"


def test_the_environment_is_read_when_the_settings_are_made(monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "now")
    assert settings_from().backends["cloudflare"].account_id == "now"


def test_a_variable_that_is_blank_is_not_set_and_blanks_around_a_value_are_cut_off():
    environ = {"CLOUDFLARE_API_TOKEN": "  \n", "CLOUDFLARE_ACCOUNT_ID": " account\n"}
    backend = settings_from(environ=environ).backends["cloudflare"]
    assert backend.api_token is None
    assert backend.account_id == "account"


def test_a_backend_that_was_given_is_not_changed():
    mine = Cloudflare()
    settings_from(backends=[mine], environ=EVERYTHING)
    assert mine == Cloudflare()


def test_any_iterable_of_backends_is_taken_an_empty_one_too():
    assert list(settings_from(backends=iter([Braintrust()]), environ={}).backends) == ["braintrust"]
    assert settings_from(backends=[], environ=EVERYTHING).backends == {}


def test_a_backend_of_a_third_party_is_completed_like_ours():
    @dataclasses.dataclass(frozen=True)
    class Third:
        key: str | None = None
        name: ClassVar[str] = "third"
        environment: ClassVar[Mapping[str, str]] = {"key": "THIRD_KEY"}
        batch_size: ClassVar[int] = 1
        concurrency: ClassVar[int] = 1
        pace: ClassVar[Pace | None] = None

    settings = settings_from(backends=[Third()], environ={"THIRD_KEY": "k"})
    assert settings.backends == {"third": Third(key="k")}


def test_a_backend_given_twice_is_refused():
    with pytest.raises(ConfigurationError, match="cloudflare, braintrust, cloudflare"):
        thumbprint.configure(backends=[Cloudflare(), Braintrust(), Cloudflare(account_id="other")])


@pytest.mark.parametrize("environ", [{}, EVERYTHING])
def test_a_class_in_place_of_a_backend_is_refused_whatever_the_environment_holds(environ):
    with pytest.raises(ConfigurationError, match=r"the class Cloudflare is none; give instances"):
        settings_from(backends=[Cloudflare], environ=environ)


@pytest.mark.parametrize("backends", [[None], ["sk-secret"], [object()], "sk-secret"])
def test_what_is_no_backend_is_refused_without_showing_it(backends):
    with pytest.raises(ConfigurationError, match="backends: an object of type") as refused:
        thumbprint.configure(backends=backends)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["batch_size", "concurrency"])
@pytest.mark.parametrize("number", [0, -1, 1.5, "1", None, True])
def test_a_backend_with_limits_that_cannot_be_kept_is_refused(name, number):
    limited = type("Limited", (Braintrust,), {name: number})
    with pytest.raises(ConfigurationError, match=rf"{name} of 'braintrust' is .*: give a number from 1 on"):
        settings_from(backends=[limited()], environ={})


@pytest.mark.parametrize(
    "pace",
    [Pace(rate=0, burst=1), Pace(rate=-1, burst=1), Pace(rate=1, burst=0.5), Pace(rate=float("inf"), burst=1), 5],
)
def test_a_pace_that_nobody_can_keep_is_refused(pace):
    with pytest.raises(ConfigurationError, match=r"pace of 'cloudflare' is .*: give a Pace of more than 0 requests"):
        settings_from(backends=[Cloudflare(pace=pace)], environ={})


def test_a_store_url_with_a_nul_is_refused():
    with pytest.raises(ConfigurationError, match="NUL"):
        settings_from(store="sqlite:///a\0b", environ={})


def test_a_lone_backend_in_place_of_a_list_is_refused():
    with pytest.raises(ConfigurationError, match="give a list of them, not an object of type Cloudflare"):
        thumbprint.configure(backends=Cloudflare())


@pytest.mark.parametrize("parent", ["Sales", "project_name:", "colour:red", "project", "AAAA"])
def test_a_parent_that_braintrust_does_not_know_is_refused_from_wherever_it_comes(parent):
    with pytest.raises(ConfigurationError, match="BRAINTRUST_PARENT"):
        Braintrust(parent=parent)
    with pytest.raises(ConfigurationError, match="BRAINTRUST_PARENT"):
        settings_from(environ={"BRAINTRUST_PARENT": parent})


@pytest.mark.parametrize("given", [{"store": "memory://"}, {"environ": {"THUMBPRINT_STORE": "memory://"}}])
def test_the_memory_store_is_chosen_by_its_url(given):
    assert isinstance(settings_from(**{"environ": {}, **given}).store, MemoryStore)


def test_a_store_that_is_given_comes_before_the_environment():
    mine = MemoryStore()
    assert settings_from(store=mine, environ={"THUMBPRINT_STORE": "nothing://known"}).store is mine


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mongo://user:hunter2@host/0", "mongo://…"),
        ("user:hunter2@host", "is not a URL: give"),
        ("hunter2", "is not a URL: give"),
        ("memory:", "is not a URL: give"),
    ],
)
@pytest.mark.parametrize("from_environment", [False, True])
def test_a_store_url_that_is_not_known_is_refused_without_its_password(url, shown, from_environment):
    given = {"environ": {"THUMBPRINT_STORE": url}} if from_environment else {"store": url, "environ": {}}
    with pytest.raises(ConfigurationError, match="THUMBPRINT_STORE") as refused:
        settings_from(**given)
    assert shown in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("word", ["1", "true", "yes", "on", "TRUE", " On "])
def test_it_is_disabled_by_any_word_for_yes(word):
    assert settings_from(environ={"THUMBPRINT_DISABLED": word}).disabled is True


@pytest.mark.parametrize("word", ["", "0", "false", "no", "off", "False", " NO\n"])
def test_it_is_enabled_by_any_word_for_no(word):
    assert settings_from(environ={"THUMBPRINT_DISABLED": word}).disabled is False


def test_any_other_word_for_disabled_is_refused_with_the_words_that_are_taken():
    with pytest.raises(ConfigurationError, match=r"THUMBPRINT_DISABLED is 'maybe': say 1, true, yes or on"):
        settings_from(environ={"THUMBPRINT_DISABLED": "maybe"})


@pytest.mark.parametrize("disabled", [True, False])
def test_disabled_as_an_argument_comes_before_the_environment(disabled):
    assert settings_from(disabled=disabled, environ={"THUMBPRINT_DISABLED": "maybe"}).disabled is disabled


def test_a_refused_configuration_leaves_the_default_as_it_was():
    before = thumbprint.configure(backends=[Cloudflare()])
    with pytest.raises(ConfigurationError):
        thumbprint.configure(backends=[Cloudflare(), Cloudflare()])
    with thumbprint.scope():
        pass
    assert thumbprint._default._default is before


def test_no_repr_shows_a_key_or_a_token():
    settings = settings_from(environ=EVERYTHING)
    for shown in (settings, thumbprint.Thumbprint(), *settings.backends.values()):
        assert "secret" not in repr(shown)
        assert "secret" not in str(shown)


@pytest.mark.parametrize("store", [5, object(), ["memory://"]])
def test_a_store_that_is_none_is_refused(store):
    with pytest.raises(ConfigurationError, match="neither a URL nor a store"):
        settings_from(store=store, environ={})


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://localhost:6379/0", RedisStore),
        ("rediss://:hunter2@host/1", RedisStore),
        ("unix:///run/redis.sock", RedisStore),
    ],
)
def test_a_store_on_a_server_is_chosen_by_its_url_and_connects_nowhere_yet(url, kind):
    assert isinstance(settings_from(store=url, environ={}).store, kind)
    assert isinstance(settings_from(environ={"THUMBPRINT_STORE": url}).store, kind)


def test_a_store_in_a_file_is_chosen_by_its_url_relative_or_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///relative.db", f"sqlite:///{tmp_path}/absolute.db"):
        store = settings_from(environ={"THUMBPRINT_STORE": url}).store
        assert isinstance(store, SqliteStore)
        store.close()
    assert {path.name for path in tmp_path.iterdir()} == {"relative.db", "absolute.db"}


def test_a_file_that_cannot_be_opened_is_refused_at_once(tmp_path):
    with pytest.raises(StoreError, match="there is no folder"):
        settings_from(store=f"sqlite:///{tmp_path}/nowhere/outbox.db", environ={})


@pytest.mark.parametrize("told", [{"fallback": "memory"}, {"environ": {"THUMBPRINT_FALLBACK": "memory"}}])
def test_a_file_that_cannot_be_opened_is_done_without_where_that_is_told(tmp_path, told, caplog):
    settings = settings_from(**{"store": f"sqlite:///{tmp_path}/nowhere/outbox.db", "environ": {}} | told)

    assert isinstance(settings.store, MemoryStore)
    assert "kept in memory only" in caplog.text
    assert "there is no folder" in caplog.text


def test_only_a_store_that_others_share_is_buffered():
    assert isinstance(settings_from(store="redis://h", fallback="memory", environ={}).store, BufferedStore)
    assert isinstance(settings_from(fallback="memory", environ={}).store, MemoryStore)


@pytest.mark.parametrize("mode", ["send", "accept", "both"])
def test_what_is_done_with_baggage_is_an_argument_or_comes_from_the_environment(mode):
    assert settings_from(environ={}).baggage is None
    assert settings_from(environ={"THUMBPRINT_BAGGAGE": mode}).baggage == mode
    assert settings_from(baggage=mode, environ={"THUMBPRINT_BAGGAGE": "everything"}).baggage == mode


@pytest.mark.parametrize("told", [True, "1", ["send"]])
def test_anything_else_to_do_with_baggage_is_refused(told):
    with pytest.raises(ConfigurationError, match=r"THUMBPRINT_BAGGAGE \(baggage=…\) is .*: say send, accept or both"):
        settings_from(baggage=told, environ={})


def test_opentelemetry_is_told_by_default_and_keeps_to_the_calls_that_others_know():
    assert settings_from(environ={}).emitting == {"opentelemetry": OpenTelemetry(spans=False)}
    assert settings_from(backends=[Cloudflare()], environ={}).emitting == {}
    environ = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
    settings = settings_from(backends=[Cloudflare(), OpenTelemetry()], environ=environ)
    assert settings.emitting == {"opentelemetry": OpenTelemetry(content="true")}
    assert list(settings.backends) == ["cloudflare"]
    with pytest.raises(ConfigurationError, match="each may be given once"):
        settings_from(backends=[OpenTelemetry(), OpenTelemetry()], environ={})


def test_an_unknown_fallback_is_refused():
    with pytest.raises(ConfigurationError, match=r"THUMBPRINT_FALLBACK \(fallback=…\) is 'redis': say memory"):
        settings_from(fallback="redis", environ={})


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://outbox.db", "redis://", "memory://x"])
def test_a_store_url_that_lacks_what_it_needs_is_refused(url):
    with pytest.raises(ConfigurationError, match=r"give memory://, sqlite:///PATH or redis://HOST:PORT/DATABASE"):
        settings_from(store=url, environ={})


@pytest.mark.parametrize("mode", ["background", "inline", "none"])
def test_the_way_of_delivery_is_an_argument_or_comes_from_the_environment(mode):
    assert settings_from(environ={}).delivery == "background"
    shared = {"store": "redis://127.0.0.1", "backends": []}
    assert settings_from(**shared, environ={"THUMBPRINT_DELIVERY": mode}).delivery == mode
    assert settings_from(**shared, delivery=mode, environ={"THUMBPRINT_DELIVERY": "pigeon"}).delivery == mode


def test_where_there_are_no_threads_delivery_is_inline_unless_said_otherwise(monkeypatch):
    monkeypatch.setattr("sys.platform", "emscripten")
    assert settings_from(environ={}).delivery == "inline"
    assert settings_from(environ={"THUMBPRINT_DELIVERY": "background"}).delivery == "background"


@pytest.mark.parametrize("given", [{"delivery": "none"}, {"environ": {"THUMBPRINT_DELIVERY": "none"}}])
@pytest.mark.parametrize("store", [None, "memory://", MemoryStore()])
def test_to_store_only_what_nobody_else_can_deliver_is_refused_with_what_to_do(given, store):
    words = (
        r"THUMBPRINT_DELIVERY \(delivery=…\) is none, .*: set THUMBPRINT_STORE .* or THUMBPRINT_DELIVERY to background"
    )
    with pytest.raises(ConfigurationError, match=words):
        settings_from(**{"store": store, "environ": {}} | given)


def test_where_feedback_is_dropped_anyway_nobody_need_deliver_it():
    assert settings_from(delivery="none", disabled=True, environ={}).delivery == "none"


def test_where_a_file_is_done_without_this_process_delivers_what_it_keeps_in_memory(tmp_path):
    url = f"sqlite:///{tmp_path}/nowhere/outbox.db"
    for mode, then in [("none", "background"), ("inline", "inline"), ("background", "background")]:
        settings = settings_from(store=url, delivery=mode, fallback="memory", environ={})

        assert isinstance(settings.store, MemoryStore)
        assert settings.delivery == then


@pytest.mark.parametrize("given", [{"delivery": "pigeon"}, {"environ": {"THUMBPRINT_DELIVERY": "pigeon"}}])
def test_another_way_of_delivery_is_refused_with_those_there_are(given):
    with pytest.raises(ConfigurationError, match="is 'pigeon': say background, inline or none"):
        settings_from(**{"environ": {}, **given})


def test_feedback_is_tried_for_72_hours_unless_said_otherwise():
    assert settings_from(environ={}).expire_after == 72 * 3600
    assert settings_from(expire_after=5, environ={}).expire_after == 5.0
    assert settings_from(environ={"THUMBPRINT_EXPIRE_AFTER": " 3600.5 "}).expire_after == 3600.5
    assert settings_from(environ={"THUMBPRINT_EXPIRE_AFTER": " "}).expire_after == 72 * 3600
    assert settings_from(expire_after=5, environ={"THUMBPRINT_EXPIRE_AFTER": "soon"}).expire_after == 5.0


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e999", "soon", "3 days"])
def test_an_age_in_the_environment_that_feedback_cannot_expire_at_is_refused_by_name_and_value(text):
    with pytest.raises(
        ConfigurationError, match=r"THUMBPRINT_EXPIRE_AFTER \(expire_after=…\) is .*: give the seconds"
    ) as no:
        settings_from(environ={"THUMBPRINT_EXPIRE_AFTER": text})
    assert text in str(no.value) or "inf" in str(no.value)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 10**400, True, "5", [5]])
def test_an_age_that_feedback_cannot_expire_at_is_refused(seconds):
    with pytest.raises(ConfigurationError, match="expire_after="):
        thumbprint.configure(expire_after=seconds)
