"""Whether the configuration works, from a shell."""

from __future__ import annotations

import json
import re

import pytest
from redis_server import free_port

from thumbprint import cli
from thumbprint.stores import SqliteStore

SECRETS = ("emulator-cloudflare-token", "emulator-braintrust-key", "geheim-osprey")


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
