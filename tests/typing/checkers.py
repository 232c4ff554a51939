"""Runs pyright and ty on what is written against the public API, each of which has to see what mypy sees.

The file's own marks say what that is: a line that must be a type error bears `type: ignore[code]`, which mypy reports
where it is none. The others pass marks with codes of mypy's over, or are told to, and their errors are compared line
by line: one that is missing is a mistake that they let pass, one too many is a right use that they refuse.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FILE = Path(__file__).with_name("api.py")
MARK = re.compile(r"#\s*type: ignore\[")
MYPY_ALONE = "# mypy alone"  # a use that the others do not call an error


def marked() -> set[int]:
    """Return the numbers of the lines that must be errors."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if MARK.search(line) and MYPY_ALONE not in line}


def seen_by_pyright() -> set[int]:
    """Return the numbers of the lines that pyright complains of."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "pyrightconfig.json"
        project.write_text(
            json.dumps({"include": [os.path.relpath(FILE, folder)], "enableTypeIgnoreComments": False}),
            encoding="utf-8",
        )
        told = json.loads(output("pyright", "--project", str(project), "--outputjson", "--pythonpath", sys.executable))
    assert told["summary"]["filesAnalyzed"] == 1, told["summary"]
    return {found["range"]["start"]["line"] + 1 for found in told["generalDiagnostics"]}


def seen_by_ty() -> set[int]:
    """Return the numbers of the lines that ty complains of; it says so where there are none."""
    told = output("ty", "check", "--python", sys.prefix, "--output-format", "concise", str(FILE))
    assert "Found " in told or "All checks passed" in told, told
    return {int(number) for number in re.findall(rf"{re.escape(FILE.name)}:(\d+):", told)}


def output(module: str, *arguments: str) -> str:
    """Return what a checker, which is a module of this environment, prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], check=False, capture_output=True, text=True, timeout=300
    )
    if done.returncode not in {0, 1}:  # 1: there are errors
        raise SystemExit(f"{module} failed: {done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    """Compare, and tell; return the exit status."""
    expected, failed = marked(), False
    for name, seen in (("pyright", seen_by_pyright()), ("ty", seen_by_ty())):
        for what, lines in (("does not see the error in", expected - seen), ("refuses", seen - expected)):
            for number in sorted(lines):
                failed = True
                print(f"{name} {what} {FILE.name}:{number}")
        print(f"{name}: {len(seen)} errors seen, {len(expected)} expected")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
