"""Which of these tests can run with what is installed, and what they share."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

import thumbprint

# Beside the oldest httpx it cannot be installed (see `floors` in noxfile.py); everywhere else it is.
collect_ignore = [] if find_spec("anthropic") else ["test_anthropic.py", "test_logged_anthropic.py"]


@pytest.fixture
def logging(emulator):
    """Return what configures thumbprint to log calls, and knows no gateway."""

    def configure(*others, **settings):
        thumbprint.configure(backends=[thumbprint.Braintrust(**{"log_calls": True} | settings), *others])
        return emulator

    return configure
