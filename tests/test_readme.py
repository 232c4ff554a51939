"""The README's code runs, in the order in which it is read, and its promise stands early."""

from __future__ import annotations

import re
from pathlib import Path

import sdk

README = Path(__file__).parent.parent / "README.md"


def blocks():
    return re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def test_the_code_of_the_readme_runs(emulator, capsys):
    assert len(blocks()) >= 6
    names = {}
    for code in blocks():
        local = code.replace(
            "https://gateway.ai.cloudflare.com/v1/ACCOUNT/GATEWAY/openai", emulator.cloudflare_openai_url
        )
        exec(compile(local, str(README), "exec"), names)  # noqa: S102 - our own README
        sdk.closing(names["client"])
    by_text = [(log["feedback"], log["score"]) for log in emulator.cloudflare_logs()]
    assert by_text[:3] == [(1, None), (-1, None), (None, 80)]
    assert "'message-43' is the id of no scope" in capsys.readouterr().out


def test_problem_promise_and_working_code_stand_by_line_45():
    head = README.read_text().splitlines()[:45]
    assert head.index("```python") < head.index("```") < 45
    assert any("record_feedback(" in line for line in head)


def test_the_readme_names_every_error_setting_and_measure():
    from thumbprint import _config, _metrics, errors  # noqa: PLC0415
    from thumbprint.backends import Braintrust, Cloudflare, OpenTelemetry  # noqa: PLC0415

    text = README.read_text()
    variables = {
        *Cloudflare.environment.values(),
        *Braintrust.environment.values(),
        *OpenTelemetry.environment.values(),
    }
    variables |= {_config.STORE, _config.DELIVERY, _config.FALLBACK, _config.DISABLED, _config.EXPIRY, _config.BAGGAGE}
    variables |= {_config.SECRET}
    variables |= {f"thumbprint.{event}" for event in _metrics.COUNTERS}
    variables |= {_metrics.DEPTH, _metrics.OLDEST_AGE, _metrics.DEAD, _metrics.LATENCY}
    assert [name for name in {*errors.__all__, *variables} if f"`{name}`" not in text] == []


def test_the_readme_names_every_command():
    from thumbprint import cli  # noqa: PLC0415

    text = README.read_text()
    names = [command.__name__.rpartition(".")[2] for command in cli.COMMANDS]
    assert [name for name in names if f"thumbprint {name}" not in text] == []
