"""Run tests, and see that README.md's table of clients and doors is what they show.

    python tests/compatibility [--write] PYTEST-ARGUMENTS

The tests that were collected are the cells of the table (see `table.py`). The clients whose tests they are must have
these rows in the README, or with `--write` get them, and the versions that are installed; a failing test ends it, and
a run that left tests out compares nothing. What the suite itself runs is seen with

    python tests/compatibility --collect-only -q tests/capture

and the frameworks', in the environments that `nox -s frameworks` makes, by that session; to write:
`nox -s frameworks -- --write`. The exit status is pytest's, or 1 where the table is another.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import table

if TYPE_CHECKING:
    from collections.abc import Mapping

README = Path(__file__).parents[2] / "README.md"


class Matrix:
    """A plugin of pytest that keeps the cells among what is collected."""

    def __init__(self) -> None:
        self.cells: list[table.Cell] = []
        self.left_out = False

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the cells."""
        for item in items:
            client, door, by = (item.get_closest_marker(name) for name in ("client", "door", "by"))
            if client and door and by:
                self.cells.append(table.cell(client.args, *door.args, *by.args, **door.kwargs))

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Know that these are not all."""
        self.left_out = self.left_out or bool(items)


def main(arguments: list[str]) -> int:
    """Run the tests, compare or write the table; return the exit status."""
    matrix = Matrix()
    status = pytest.main([argument for argument in arguments if argument != "--write"], plugins=[matrix])
    if status or matrix.left_out:
        return int(status)
    found = table.sections(matrix.cells, versions())
    return bring_up_to_date(found) if "--write" in arguments else compare(found)


def compare(found: Mapping[str, table.Section]) -> int:
    """Tell where the README differs; return the exit status."""
    faults = table.differences(README.read_text(encoding="utf-8"), found)
    for fault in faults:
        print(fault)
    clients = ", ".join(f"{name} {section.version}" for name, section in found.items())
    print(f"README.md's table is {'NOT ' if faults else ''}what the tests show of: {clients}")
    return 1 if faults or not found else 0


def bring_up_to_date(found: Mapping[str, table.Section]) -> int:
    """Write the table into the README; return the exit status."""
    README.write_text(table.rewritten(README.read_text(encoding="utf-8"), found), encoding="utf-8")
    print(f"README.md: wrote the rows of {', '.join(found)}")
    return 0


def versions() -> dict[str, str]:
    """Return package → the installed version, for those that the table tells of."""
    installed = {}
    for package in set(table.CLIENTS.values()):
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
