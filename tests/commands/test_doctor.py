"""Whether the configuration works, from a shell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, entry_points

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from redis_server import free_port

from thumbprint import cli
from thumbprint.commands import _opentelemetry
from thumbprint.stores import SqliteStore

SECRETS = ("emulator-cloudflare-token", "emulator-braintrust-key", "geheim-osprey")

CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@pytest.fixture(autouse=True)
def process_of_its_own(monkeypatch):
    """The command has one; in this one other tests have set up a meter provider."""
    monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", None)


@pytest.fixture
def doctor(capsys):
    """Return what runs the command and returns its exit status and its findings by check."""

    def run(*arguments):
        status = cli.main(["doctor", "--json", *arguments])
        text = capsys.readouterr().out
        assert not [secret for secret in SECRETS if secret in text]
        document = json.loads(text)
        assert document["ok"] == (status == 0)
        findings = {}
        for finding in document["findings"]:
            assert finding.keys() == {"check", "status", "found", "advice"}
            assert finding["status"] in {"ok", "warning", "problem"}
            findings.setdefault(finding["check"], finding)
        return status, findings

    return run


@pytest.fixture
def store(url):
    opened = SqliteStore(url.removeprefix("sqlite:///"))
    opened.depths()
    yield opened
    opened.close()


def problems(findings):
    return {check for check, finding in findings.items() if finding["status"] == "problem"}


def test_a_configuration_that_works_has_no_problem_and_only_reads(emulator, store, doctor, capsys):
    status, findings = doctor()
    assert (status, problems(findings)) == (0, set())
    assert {finding["status"] for finding in findings.values()} == {"ok"}
    assert "cannot be seen by reading" in findings["cloudflare permission"]["found"]
    assert {request.method for request in emulator.requests()} == {"GET"}
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^ok +braintrust credentials: the key is valid", shown, re.MULTILINE)
    assert shown.endswith("0 problems, 0 warnings\n")


def test_without_any_service_there_is_a_problem(doctor):
    status, findings = doctor()
    assert (status, problems(findings)) == (1, {"services"})
    assert findings["store"]["status"] == "warning"


def test_one_service_is_enough(emulator, monkeypatch, store, doctor):
    for name in ("BRAINTRUST_API_KEY", "BRAINTRUST_PARENT", "BRAINTRUST_GATEWAY_URL"):
        monkeypatch.delenv(name)
    status, findings = doctor()
    assert (status, findings["braintrust settings"]["found"]) == (0, "not configured")


@pytest.mark.parametrize(
    "case",
    [
        ("CLOUDFLARE_API_TOKEN", "wrong-token", "cloudflare credentials", "HTTP 403"),
        ("CLOUDFLARE_API_TOKEN", "wrong\ntoken", "cloudflare settings", "characters that no header takes"),
        ("CLOUDFLARE_GATEWAY_ID", "other", "cloudflare credentials", "HTTP 404"),
        ("CLOUDFLARE_BASE_URL", "http://127.0.0.1:1", "cloudflare service", "cannot be reached"),
        ("BRAINTRUST_API_KEY", "wrong-key", "braintrust credentials", "HTTP 401"),
        ("BRAINTRUST_PARENT", "somewhere", "braintrust settings", "BRAINTRUST_PARENT"),
        ("THUMBPRINT_STORE", "nonsense", "store", "not a URL"),
        ("THUMBPRINT_DELIVERY", "perhaps", "delivery", "'perhaps'"),
        ("THUMBPRINT_FALLBACK", "disk", "fallback", "say memory"),
        ("THUMBPRINT_EXPIRE_AFTER", "soon", "expiry", "THUMBPRINT_EXPIRE_AFTER (expire_after=…) is 'soon'"),
        ("THUMBPRINT_DISABLED", "perhaps", "capture", "THUMBPRINT_DISABLED"),
        ("THUMBPRINT_SECRET", "geheim-osprey", "tokens", "only 13 bytes long"),
        ("THUMBPRINT_BAGGAGE", "perhaps", "baggage", "THUMBPRINT_BAGGAGE"),
    ],
)
@pytest.mark.usefixtures("emulator", "store")
def test_what_is_wrong_is_a_problem_of_its_own(monkeypatch, capsys, case):
    variable, value, check, words = case
    monkeypatch.setenv(variable, value)
    assert cli.main(["doctor", "--json"]) == 1
    found = [finding for finding in json.loads(capsys.readouterr().out)["findings"] if finding["status"] == "problem"]
    assert [finding["check"] for finding in found] == [check]
    assert words in found[0]["found"]


def test_storing_only_needs_a_store_that_a_worker_can_share(emulator, monkeypatch, store, doctor):
    monkeypatch.setenv("THUMBPRINT_DELIVERY", "none")
    status, findings = doctor()
    assert status == 0
    assert "thumbprint worker" in findings["delivery"]["advice"]
    status, findings = doctor("--store", "memory://")
    assert (status, problems(findings)) == (1, {"delivery"})


def test_what_waits_in_the_store_and_what_failed_is_told(emulator, say, doctor):
    say("a")
    status, findings = doctor()
    assert status == 0
    assert findings["outbox of braintrust"]["found"].startswith("1 waiting")


def test_that_everything_is_switched_off_is_a_warning(emulator, monkeypatch, store, capsys):
    monkeypatch.setenv("THUMBPRINT_DISABLED", "1")
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "warning  capture: THUMBPRINT_DISABLED is set" in shown
    assert "→ unset it" in shown


def test_a_fallback_is_told_with_what_it_means(emulator, monkeypatch, store, doctor):
    assert "fallback" not in doctor()[1]
    monkeypatch.setenv("THUMBPRINT_FALLBACK", "memory")
    status, findings = doctor()
    assert (status, findings["fallback"]["status"]) == (0, "ok")
    assert "goes on without a store that it cannot use" in findings["fallback"]["found"]


def test_a_permission_that_cannot_be_seen_is_told_as_what_was_found(emulator, store, doctor):
    finding = doctor()[1]["cloudflare permission"]
    assert finding["found"].startswith("the token may read")
    assert finding["advice"].startswith("writing takes the permission AI Gateway Write")


def test_one_problem_and_one_warning_are_counted_as_one(emulator, monkeypatch, capsys):
    monkeypatch.setenv("THUMBPRINT_DELIVERY", "pigeon")
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out.endswith("\n1 problem, 1 warning\n")


def test_a_file_that_is_missing_is_told_and_not_made(emulator, tmp_path, doctor):
    path = tmp_path / "mistyped.db"
    status, findings = doctor("--store", f"sqlite:///{path}")
    assert (status, findings["store"]["status"]) == (0, "warning")
    assert findings["store"]["found"] == f"there is no file {str(path)!r} yet"
    assert findings["store"]["advice"].startswith("correct the path, or start the application")
    assert not path.exists()


def test_a_redis_that_is_away_is_a_problem_without_its_password(emulator, doctor):
    status, findings = doctor("--store", f"redis://:geheim-osprey@127.0.0.1:{free_port()}/0")
    assert (status, problems(findings)) == (1, {"store"})


# tokens


@pytest.mark.parametrize(
    ("secret", "found"),
    [
        ("geheim-osprey-" * 2, "THUMBPRINT_SECRET is set, and signs them"),
        (
            ",".join(["geheim-osprey-" * 2] * 3),
            "THUMBPRINT_SECRET is set, and signs them, and those are taken that 2 older ones signed",
        ),
    ],
)
@pytest.mark.usefixtures("emulator", "store")
def test_a_secret_that_can_be_used_is_told_and_not_shown(monkeypatch, doctor, secret, found):
    monkeypatch.setenv("THUMBPRINT_SECRET", secret)
    status, findings = doctor()
    assert (status, findings["tokens"]["status"], findings["tokens"]["found"]) == (0, "ok", found)


@pytest.mark.usefixtures("emulator", "store")
def test_without_a_secret_it_is_said_how_to_make_one(doctor):
    finding = doctor()[1]["tokens"]
    assert (finding["status"], finding["found"]) == (
        "ok", "THUMBPRINT_SECRET is not set: tokens are neither issued nor taken",
    )  # fmt: skip
    assert "secrets.token_urlsafe(32)" in finding["advice"]


# OpenTelemetry


@pytest.mark.usefixtures("emulator", "store")
def test_what_the_application_sets_up_cannot_be_seen_from_a_process_of_another(doctor):
    finding = doctor()[1]["opentelemetry"]
    assert finding["found"].startswith("opentelemetry-sdk ")
    assert finding["found"].endswith("cannot be seen from here")
    assert "opentelemetry-instrument thumbprint doctor" in finding["advice"]


@pytest.mark.usefixtures("emulator", "store")
def test_without_the_sdk_no_feedback_becomes_an_event(doctor, monkeypatch):
    def version(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(_opentelemetry, "version", version)
    findings = doctor()[1]
    assert findings["opentelemetry"]["found"].startswith("opentelemetry-sdk is not installed")
    assert {"opentelemetry comments", "opentelemetry start-up"} & findings.keys() == set()


@pytest.mark.usefixtures("emulator", "store")
def test_an_sdk_that_is_switched_off_is_a_warning(doctor, monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "True")
    findings = doctor()[1]
    assert findings["opentelemetry"]["status"] == "warning"
    assert findings["opentelemetry"]["found"].startswith("OTEL_SDK_DISABLED is true")


@pytest.mark.parametrize(
    "case",
    [
        ("", "ok", f"events have no comments: {CONTENT} is not set"),
        ("no_content", "ok", f"events have no comments: {CONTENT} is no_content"),
        ("True", "ok", f"events have comments: {CONTENT} is True"),
        ("1", "warning", f"events have no comments: {CONTENT} is '1', which allows nothing"),
    ],
)
@pytest.mark.usefixtures("emulator", "store")
def test_whether_events_have_comments_is_told(doctor, monkeypatch, case):
    value, status, found = case
    monkeypatch.setenv(CONTENT, value)
    finding = doctor()[1]["opentelemetry comments"]
    assert (finding["status"], finding["found"]) == (status, found)


@pytest.mark.usefixtures("emulator", "store")
def test_providers_without_one_for_events_are_a_warning(doctor, monkeypatch):
    provider = MeterProvider()
    monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", provider)
    finding = doctor()[1]["opentelemetry"]
    provider.shutdown()
    assert finding["status"] == "warning"
    assert finding["found"] == "of providers there is meter, and no logger: feedback becomes no events"


@pytest.mark.parametrize(
    ("exporter", "status", "found"),
    [
        ("console", "ok", "feedback becomes events (providers: tracer, logger, meter)"),
        ("none", "warning", "OTEL_LOGS_EXPORTER names none: feedback becomes events that go nowhere"),
    ],
)
@pytest.mark.usefixtures("emulator", "store")
def test_what_zero_code_start_up_sets_up_is_seen_by_a_doctor_that_is_started_so(exporter, status, found):
    script = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
    names = {"traces": "none", "metrics": "none", "logs": exporter}
    options = [word for name, value in names.items() for word in (f"--{name}_exporter", value)]
    command = [sys.executable, "-c", script, *options, sys.executable, "-m", "thumbprint", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert (findings["opentelemetry"]["status"], findings["opentelemetry"]["found"]) == (status, found)


@pytest.mark.parametrize(
    "case",
    [("", "ok", "switches capture on"), ("redis, thumbprint", "warning", "does not"), ("*", "warning", "does not")],
)
@pytest.mark.usefixtures("emulator", "store")
def test_what_zero_code_start_up_leaves_out_is_told(doctor, monkeypatch, case):
    left_out, status, words = case
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", left_out)
    finding = doctor()[1]["opentelemetry start-up"]
    assert finding["status"] == status
    assert words in finding["found"]


@pytest.mark.usefixtures("emulator", "store")
def test_a_thumbprint_that_zero_code_start_up_does_not_find_is_a_warning(doctor, monkeypatch):
    monkeypatch.setattr(_opentelemetry, "entry_points", lambda **wanted: entry_points(group="nobody's"))
    finding = doctor()[1]["opentelemetry start-up"]
    assert (finding["status"], finding["advice"]) == ("warning", "install thumbprint again, with pip")


@pytest.mark.parametrize(
    "case",
    [
        ("send", None, "ok", "THUMBPRINT_BAGGAGE is send"),
        ("accept", "tracecontext, baggage", "ok", "THUMBPRINT_BAGGAGE is accept"),
        ("both", "tracecontext", "warning", "is both, but OTEL_PROPAGATORS is 'tracecontext': no baggage travels"),
    ],
)
@pytest.mark.usefixtures("emulator", "store")
def test_what_is_done_with_baggage_is_told(doctor, monkeypatch, case):
    mode, propagators, status, found = case
    assert "baggage" not in doctor()[1]
    monkeypatch.setenv("THUMBPRINT_BAGGAGE", mode)
    if propagators:
        monkeypatch.setenv("OTEL_PROPAGATORS", propagators)
    finding = doctor()[1]["baggage"]
    assert (finding["status"], finding["found"].endswith(found)) == (status, True)
    assert ("stranger" in (finding["advice"] or "")) is (mode == "accept")
