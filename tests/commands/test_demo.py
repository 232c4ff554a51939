"""The demo, in process."""

from __future__ import annotations

from thumbprint import _demo, cli
from thumbprint.emulator import Emulator


def test_the_demo_runs_in_process_too(capsys):
    assert cli.main(["demo"]) == 0
    assert "All 7 steps" in capsys.readouterr().out


def test_the_demo_fails_loudly_where_a_service_does_not_hold_what_was_sent(monkeypatch, capsys):
    """The emulator forgets a vote behind the demo's back."""

    class Forgetful(Emulator):
        def start(self):
            started = super().start()
            self.fail("/client/v4/.*logs/", method="PATCH", status=200, body={"success": True, "result": {}})
            return started

    monkeypatch.setattr(_demo, "Emulator", Forgetful)
    assert cli.main(["demo"]) == 1
    captured = capsys.readouterr()
    assert "FAILED: step 1: cloudflare should hold {'feedback': 1" in captured.err
    assert "All 7 steps" not in captured.out


def test_the_demo_fails_loudly_where_feedback_is_not_delivered(monkeypatch, capsys):
    class Refusing(Emulator):
        def start(self):
            started = super().start()
            self.fail("/client/v4/.*logs/", status=400, body={"success": False}, times=None)
            return started

    monkeypatch.setattr(_demo, "Emulator", Refusing)
    assert cli.main(["demo"]) == 1
    assert "FAILED: step 1: expected delivery" in capsys.readouterr().err
