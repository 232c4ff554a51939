"""`thumbprint doctor`: whether the configuration works, found out without changing anything."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any, Final

from .. import _config
from .._model import Finding
from .._words import printable
from ..delivery import diagnose
from ..errors import ConfigurationError
from .exit_status import DONE, FAILED
from .outbox import STORE_HELP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..backends import Backend
    from ..stores import Store

DESCRIPTION: Final = """\
Check the configuration, the store, and the credentials against the services. Nothing is changed anywhere: the services
are only read from. Says for each check how it stands, what was found, and what to do.

With --json, one JSON document on stdout:
  {"ok", "findings": [{"check", "status": "ok" | "warning" | "problem", "found", "advice"}]}
Exit status: 0 no problem, 1 a problem."""


def add(commands: Any) -> None:
    """Put `doctor` among the subcommands."""
    doctor = commands.add_parser(
        "doctor",
        help="check configuration, store, credentials and permissions",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.set_defaults(command=run)
    doctor.add_argument("--store", metavar="URL", help=STORE_HELP)
    doctor.add_argument("--json", action="store_true", help="one JSON document, as told above")


def run(chosen: argparse.Namespace) -> int:
    """Check everything and tell; return the exit status."""
    findings = [*_packages(), *_backends(), *_store_and_delivery(chosen.store), *_disabled()]
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
    found = [_backend(make) for make in _config.BACKENDS]
    findings = [finding for _, of_one in found for finding in of_one]
    if any(configured for configured, _ in found):
        return findings
    advice = "set the variables of the service that your calls go through"
    nowhere = "no service is configured: feedback can go nowhere"
    return [*findings, Finding(check="services", status="problem", found=nowhere, advice=advice)]


def _backend(make: Callable[[], Backend]) -> tuple[bool, list[Finding]]:
    """Return whether a service is configured, rightly or wrongly, and what was found."""
    backend = make()
    try:
        backend = _config.completed(backend)
    except ConfigurationError as error:
        return True, [Finding(check=f"{backend.name} settings", status="problem", found=str(error))]
    return backend.credential is not None, diagnose(backend)


def _store_and_delivery(url: str | None) -> list[Finding]:
    try:
        _config.fallback_from()
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
    except ConfigurationError as error:
        return Finding(check="delivery", status="problem", found=str(error))
    if mode != "none":
        return Finding(check="delivery", status="ok", found=f"{_config.DELIVERY} is {mode}")
    if store.shared:
        advice = "keep `thumbprint worker` running on this store"
        return Finding(check="delivery", status="ok", found="applications only store", advice=advice)
    advice = f"set {_config.STORE} to a store that a worker can share, or {_config.DELIVERY} to background"
    found = f"{_config.DELIVERY} is none, and nobody else can deliver what is in a process's memory"
    return Finding(check="delivery", status="problem", found=found, advice=advice)


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
    print(f"{problems} problems, {warnings} warnings")
