"""Processes whose coverage is not measured.

Coverage takes locks of its own, which nobody releases in a child that is forked off meanwhile, or in a thread whose
signal handler exits: a test of just that would hang in what measures it.
"""

from __future__ import annotations

import os


def environ(**more):
    """Return this process's environment, without what has coverage measured, and with some variables more."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")} | more
