"""What an operator should know of the packages that captured calls go through."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from .._model import Finding
from ._sdk import base_classes, lacking

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES: Final = ("openai", "httpx", "opentelemetry-api", "wrapt")


def check_packages() -> list[Finding]:
    """Return which versions are installed, and whether the openai package has the methods that calls are captured at.

    Imports openai.
    """
    versions = Finding(check="packages", status="ok", found=", ".join(map(_versioned, PACKAGES)))
    return [versions, hooks_finding(_openai_classes())]


def hooks_finding(classes: Sequence[type]) -> Finding:
    """Return whether the base classes of an SDK's clients have the methods that calls are captured at. Pure."""
    if not classes:
        advice = "install thumbprint again: pip install thumbprint"
        return Finding(check="capture", status="problem", found="openai cannot be imported", advice=advice)
    missing = lacking(classes)
    if missing:
        found = f"this version of openai has no {' and no '.join(missing)}: its calls are not captured"
        advice = "install an older openai, or a newer thumbprint"
        return Finding(check="capture", status="problem", found=found, advice=advice)
    return Finding(check="capture", status="ok", found="openai has what calls are captured at")


def _openai_classes() -> list[type]:
    try:
        import openai._base_client as sdk  # noqa: PLC0415 - it costs half a second
    except ImportError:
        return []
    return base_classes(sdk)


def _versioned(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} (not installed)"
