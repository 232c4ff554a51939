"""What `thumbprint doctor` can honestly say of OpenTelemetry: it is another process than the application."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import TYPE_CHECKING, Final

from .. import _config, _events, _metrics
from .._model import Finding
from ..backends import OpenTelemetry
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

SDK: Final = "opentelemetry-sdk"
START_UP: Final = "opentelemetry-instrumentation"  # the package with the command `opentelemetry-instrument`
ENTRY_POINTS: Final = "opentelemetry_instrumentor"

# https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
SDK_DISABLED: Final = "OTEL_SDK_DISABLED"
LOGS_EXPORTER: Final = "OTEL_LOGS_EXPORTER"
PROPAGATORS: Final = "OTEL_PROPAGATORS"
DEFAULT_PROPAGATORS: Final = "tracecontext,baggage"
LEFT_OUT: Final = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
CONTENT: Final = OpenTelemetry.environment["content"]
KEEPING_CONTENT: Final = frozenset({"", "false", "no_content", "span_only"})

UNSET_IT: Final = "unset it where that is not meant"


def opentelemetry_findings(environ: Mapping[str, str] = _config.ENVIRONMENT) -> list[Finding]:
    """Return whether OpenTelemetry is told of feedback, what start-up switches on, and what becomes of baggage."""
    return [*_events_of(_version(SDK), environ), *_start_up(environ), *_baggage(environ)]


def _events_of(sdk: str | None, environ: Mapping[str, str]) -> list[Finding]:
    """Say whether feedback becomes events, and comments with it."""
    if sdk is None:
        found = f"{SDK} is not installed: feedback becomes no events, and nobody reads metrics"
        return [Finding(check="opentelemetry", status="ok", found=found)]
    if environ.get(SDK_DISABLED, "").strip().lower() == "true":
        found = f"{SDK_DISABLED} is true: feedback becomes no events, and nobody reads metrics"
        return [Finding(check="opentelemetry", status="warning", found=found, advice=UNSET_IT)]
    return [_providers(sdk, environ), _comments(environ)]


def _providers(sdk: str, environ: Mapping[str, str]) -> Finding:
    """Say which providers this process has; only zero-code start-up sets up any where doctor runs."""
    there = {"tracer": _events.traced(), "logger": _events.heard(), "meter": _metrics.metered()}
    if not any(there.values()):
        found = f"{SDK} {sdk} is installed; which providers the application sets up cannot be seen from here"
        advice = "where zero-code start-up does: run `opentelemetry-instrument thumbprint doctor`"
        return Finding(check="opentelemetry", status="ok", found=found, advice=advice)
    names = ", ".join(name for name, is_there in there.items() if is_there)
    if not there["logger"]:
        found, advice = f"of providers there is {names}, and no logger: feedback becomes no events", "set one up"
        return Finding(check="opentelemetry", status="warning", found=found, advice=advice)
    if environ.get(LOGS_EXPORTER, "").strip().lower() in {"", "none"}:
        found = f"{LOGS_EXPORTER} names none: feedback becomes events that go nowhere"
        return Finding(check="opentelemetry", status="warning", found=found, advice="name one, such as otlp")
    return Finding(check="opentelemetry", status="ok", found=f"feedback becomes events (providers: {names})")


def _comments(environ: Mapping[str, str]) -> Finding:
    told = environ.get(CONTENT, "").strip()
    if OpenTelemetry(content=told).allows_content:
        return Finding(check="opentelemetry comments", status="ok", found=f"events have comments: {CONTENT} is {told}")
    advice = "for comments say true, event_only or span_and_event"
    if told.lower() in KEEPING_CONTENT:
        found = f"events have no comments: {CONTENT} is {told or 'not set'}"
        return Finding(check="opentelemetry comments", status="ok", found=found, advice=advice)
    found = f"events have no comments: {CONTENT} is {told!a:.40}, which allows nothing"
    return Finding(check="opentelemetry comments", status="warning", found=found, advice=advice)


def _start_up(environ: Mapping[str, str]) -> list[Finding]:
    """Say whether `opentelemetry-instrument`, where it is installed, switches capture on."""
    if _version(START_UP) is None:
        return []
    check, left_out = "opentelemetry start-up", {name.strip() for name in environ.get(LEFT_OUT, "").split(",")}
    if not entry_points(group=ENTRY_POINTS, name="thumbprint"):
        found, advice = "`opentelemetry-instrument` does not find thumbprint", "install thumbprint again, with pip"
        return [Finding(check=check, status="warning", found=found, advice=advice)]
    if left_out & {"thumbprint", "*"}:
        found = f"{LEFT_OUT} names thumbprint: `opentelemetry-instrument` does not switch capture on"
        return [Finding(check=check, status="warning", found=found, advice=f"{UNSET_IT}, or call instrument()")]
    return [Finding(check=check, status="ok", found="`opentelemetry-instrument` switches capture on")]


def _baggage(environ: Mapping[str, str]) -> list[Finding]:
    """Say what is done with scope ids in baggage, and whether that travels."""
    try:
        mode = _config.baggage_from(environ=environ)
    except ConfigurationError as error:
        return [Finding(check="baggage", status="problem", found=str(error))]
    if mode is None:
        return []
    told = environ.get(PROPAGATORS) or DEFAULT_PROPAGATORS
    if "baggage" not in {name.strip() for name in told.split(",")}:
        found = f"{_config.BAGGAGE} is {mode}, but {PROPAGATORS} is {told!a:.80}: no baggage travels"
        return [Finding(check="baggage", status="warning", found=found, advice="add baggage to it")]
    advice = "let no stranger's requests come here with baggage of their own" if mode != "send" else None
    return [Finding(check="baggage", status="ok", found=f"{_config.BAGGAGE} is {mode}", advice=advice)]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
