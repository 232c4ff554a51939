"""`thumbprint doctor`: whether the configuration works, found out without changing anything."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, Final

from .. import _config
from .._model import Finding
from .._words import counted, printable
from ..delivery import diagnose
from ..errors import ConfigurationError
from . import _arguments
from ._opentelemetry import opentelemetry_findings
from .exit_status import DONE, FAILED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ..backends import Backend
    from ..stores import Store

DESCRIPTION: Final = """\
Check the configuration, the store, the credentials against the services, and what OpenTelemetry is told. Nothing is
changed anywhere: the services are only read from, and the file of a store that is missing is not made. Says for each
check how it stands, what was found, and what to do.

With --json, one JSON document on stdout:
  {"ok", "findings": [{"check", "status": "ok" | "warning" | "problem", "found", "advice"}]}
Exit status: 0 no problem, 1 a problem."""


def add(commands: Any) -> None:
    """Put `doctor` among the subcommands."""
    doctor = _arguments.add_command(
        commands,
        "doctor",
        run,
        summary="check configuration, store, credentials and permissions",
        description=DESCRIPTION,
    )
    _arguments.add_store(doctor)
    doctor.add_argument("--json", action="store_true", help="one JSON document, as told above")


def run(chosen: argparse.Namespace) -> int:
    """Check everything and tell; return the exit status."""
    findings = [
        *_packages(),
        *_backends(),
        *_store_and_delivery(chosen.store),
        *_fallback(),
        *_expiry(),
        _tokens(),
        *opentelemetry_findings(),
        *_disabled(),
    ]
    fine = all(finding.status != "problem" for finding in findings)
    if chosen.json:
        print(json.dumps({"ok": fine, "findings": [dataclasses.asdict(finding) for finding in findings]}))
    else:
        _print(findings)
    return DONE if fine else FAILED


def _packages() -> list[Finding]:
    from ..capture.checks import check_packages  # noqa: PLC0415 - it imports openai

    return check_packages()


def _backends() -> list[Finding]:
    """Check each service that is known; at least one must be configured."""
    found = [_backend(backend) for backend in _config.default_backends()]
    findings = [finding for _, of_one in found for finding in of_one]
    if any(configured for configured, _ in found):
        return findings
    advice = "set the variables of the service that your calls go through"
    nowhere = "no service is configured: feedback can go nowhere"
    return [*findings, Finding(check="services", status="problem", found=nowhere, advice=advice)]


def _backend(backend: Backend) -> tuple[bool, list[Finding]]:
    """Return whether a service is configured, rightly or wrongly, and what was found."""
    try:
        backend = _config.completed(backend)
    except ConfigurationError as error:
        return True, [Finding(check=f"{backend.name} settings", status="problem", found=str(error))]
    return backend.credential is not None, diagnose(backend)


def _store_and_delivery(url: str | None) -> list[Finding]:
    try:
        store = _config.store_from(url)
        findings = store.check()
    except ConfigurationError as error:
        return [Finding(check="store", status="problem", found=str(error))]
    try:
        return [*findings, _delivery(store)]
    finally:
        store.close()


def _delivery(store: Store) -> Finding:
    try:
        mode = _config.delivery_from()
        _config.check_delivered(store, mode)
    except ConfigurationError as error:
        return Finding(check="delivery", status="problem", found=str(error))
    if mode != "none":
        return Finding(check="delivery", status="ok", found=f"{_config.DELIVERY} is {mode}")
    advice = "keep `thumbprint worker` running on this store"
    return Finding(check="delivery", status="ok", found="applications only store", advice=advice)


def _fallback() -> list[Finding]:
    try:
        fallback = _config.fallback_from()
    except ConfigurationError as error:
        return [Finding(check="fallback", status="problem", found=str(error))]
    if not fallback:
        return []
    found = (
        f"{_config.FALLBACK} is memory: an application goes on without a store that it cannot use (a file until the "
        "application ends, a server until it is back); what it then keeps in memory is lost if it dies"
    )
    return [Finding(check="fallback", status="ok", found=found)]


def _expiry() -> list[Finding]:
    try:
        _config.expire_after_from()
    except ConfigurationError as error:
        return [Finding(check="expiry", status="problem", found=str(error))]
    return []


def _tokens() -> Finding:
    try:
        keys = _config.keys_from()
    except ConfigurationError as error:
        return Finding(check="tokens", status="problem", found=str(error))
    if keys is None:
        advice = f"to take votes from browsers, set it, to the same everywhere; make one with {_config.MAKE_SECRET}"
        found = f"{_config.SECRET} is not set: tokens are neither issued nor taken"
        return Finding(check="tokens", status="ok", found=found, advice=advice)
    older = f", and those are taken that {counted(len(keys) - 1, 'older one')} signed" if len(keys) > 1 else ""
    return Finding(check="tokens", status="ok", found=f"{_config.SECRET} is set, and signs them{older}")


def _disabled() -> list[Finding]:
    try:
        disabled = _config.disabled_from()
    except ConfigurationError as error:
        return [Finding(check="capture", status="problem", found=str(error))]
    if not disabled:
        return []
    found = f"{_config.DISABLED} is set: nothing is captured, and feedback is dropped"
    return [Finding(check="capture", status="warning", found=found, advice="unset it where that is not meant")]


def _print(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(printable(f"{finding.status:<8} {finding.check}: {finding.found}"))
        if finding.advice:
            print(printable(f"{'':<8} → {finding.advice}"))
    problems = sum(finding.status == "problem" for finding in findings)
    warnings = sum(finding.status == "warning" for finding in findings)
    print(f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}")
