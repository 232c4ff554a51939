"""Whether a service has the feedback, from a shell."""

from __future__ import annotations

import json

import pytest

from thumbprint import cli


@pytest.fixture
def entry(log_id):
    return ["--backend", "cloudflare", "--id", log_id]


def test_what_was_sent_is_confirmed_and_what_was_not_is_missing(entry, log_id, capsys):
    assert cli.main(["send", *entry, "--thumbs", "up", "--tag", "a"]) == 0
    capsys.readouterr()
    assert cli.main(["verify", *entry, "--thumbs", "up", "--tag", "a"]) == 0
    assert capsys.readouterr().out == f"confirmed: cloudflare {log_id} (thumbs, tags)\n"
    assert cli.main(["verify", *entry, "--thumbs", "down"]) == 1
    assert capsys.readouterr().out.startswith(f'missing: cloudflare {log_id}: thumbs is "up"; ')


def test_the_document_has_all_that_was_found(entry, log_id, capsys):
    cli.main(["send", *entry, "--thumbs", "up"])
    capsys.readouterr()
    assert cli.main(["verify", *entry, "--thumbs", "up", "--score", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "backend": "cloudflare",
        "id": log_id,
        "status": "confirmed",
        "reason": "Cloudflare does not show: score",
        "fields": ["thumbs"],
    }


def test_nothing_is_changed_by_asking(emulator, entry):
    cli.main(["verify", *entry, "--thumbs", "up", "--comment", "c"])
    assert {request.method for request in emulator.requests() if "/client/v4" in request.path} == {"GET"}
    assert emulator.cloudflare_logs()[0]["feedback"] is None


def test_a_service_that_does_not_answer_leaves_it_unknown(emulator, entry, capsys):
    emulator.fail("/client/v4", hang=True, times=None)
    assert cli.main(["verify", *entry, "--thumbs", "up", "--timeout", "0.3"]) == 1
    assert capsys.readouterr().out.startswith("unknown: ")


@pytest.mark.parametrize("said", [[], ["--thumbs", "sideways"], ["--score", "2"]])
def test_what_cannot_be_meant_is_refused(entry, said):
    assert cli.main(["verify", *entry, *said]) == 2


def test_a_missing_credential_is_named(capsys):
    assert cli.main(["verify", "--backend", "cloudflare", "--id", "01J", "--thumbs", "up"]) == 2
    assert "CLOUDFLARE_API_TOKEN" in capsys.readouterr().err
