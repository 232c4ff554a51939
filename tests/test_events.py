"""Events on their way to OpenTelemetry: where nobody listens they cost nothing, and they harm nobody."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry import _logs
from opentelemetry._logs import NoOpLoggerProvider
from telemetry import Telemetry

from thumbprint import _events
from thumbprint.backends import Event

EVENT = Event("something", {"answer": 42}, ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"))


@pytest.fixture
def provided(monkeypatch):
    """Return a function that makes something this process's logger provider."""

    def provided(provider):
        monkeypatch.setattr("opentelemetry._logs._internal._LOGGER_PROVIDER", provider)

    return provided


def test_nobody_hears_without_a_logger_provider():
    assert not _events.heard()
    _events.emit([EVENT])


def test_nobody_hears_with_a_provider_that_does_nothing(provided):
    provided(NoOpLoggerProvider())
    assert not _events.heard()


def test_a_provider_is_heard_from_when_it_is_set_up_and_gets_what_was_said(provided):
    assert not _events.heard()
    telemetry = Telemetry()
    provided(telemetry.logger_provider)
    assert _events.heard()
    _events.emit([EVENT, EVENT._replace(parent=None)])
    trace_id, span_id = EVENT.parent
    assert telemetry.events == [
        {"name": "something", "attributes": {"answer": 42}, "trace_id": trace_id, "span_id": span_id},
        {"name": "something", "attributes": {"answer": 42}, "trace_id": "0" * 32, "span_id": "0" * 16},
    ]


def test_a_provider_that_fails_is_none_and_is_said_in_the_log(provided, caplog):
    class Failing(_logs.LoggerProvider):
        def get_logger(self, *args, **kwargs):
            raise RuntimeError("broken")

    provided(Failing())
    assert not _events.heard()
    assert "OpenTelemetry's logger provider cannot be used" in caplog.text


def test_where_nobody_uses_opentelemetry_s_logs_they_are_not_even_imported():
    script = """if True:
        import sys
        import thumbprint
        ref = thumbprint.LogRef(backend="opentelemetry", id="b7ad6b7169203331", trace_id="1" * 32)
        print(thumbprint.record_feedback(ref, thumbs="up").status, "opentelemetry._logs" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["dropped", "False"]
