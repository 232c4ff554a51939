"""What an operator is told of the packages that calls go through."""

from __future__ import annotations

import sys
from importlib.metadata import version

import pytest

from thumbprint.capture import checks
from thumbprint.capture.checks import check_packages, hooks_finding


def test_the_installed_packages_have_what_calls_are_captured_at():
    versions, hooks = check_packages()
    assert (versions.status, hooks.status) == ("ok", "ok")
    assert f"openai {version('openai')}" in versions.found


def test_an_sdk_without_the_methods_is_a_problem_that_names_them():
    class Client:
        def _process_response(self): ...

    finding = hooks_finding([Client])
    assert finding.status == "problem"
    assert "_make_status_error_from_response" in finding.found
    assert "_process_response " not in finding.found


def test_an_sdk_that_cannot_be_imported_is_a_problem(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai._base_client", None)
    _, hooks = check_packages()
    assert (hooks.status, hooks.found) == ("problem", "openai cannot be imported")


@pytest.mark.parametrize("package", ["no-such-package-of-ours"])
def test_a_package_that_is_not_installed_is_told_so(monkeypatch, package):
    monkeypatch.setattr(checks, "PACKAGES", (package,))
    assert check_packages()[0].found == f"{package} (not installed)"
