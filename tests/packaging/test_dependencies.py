"""What thumbprint asks of an application: four packages, and none of their weight before it is needed."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import thumbprint

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGE = Path(thumbprint.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

EXPENSIVE = {"httpx", "httpx2", "openai", "pydantic"}
IMPORTED = re.compile(r"^import time:\s*\d+ \|\s*\d+ \|\s*(\S+)$", re.MULTILINE)


def imported_modules(tree):
    """Yield the dotted name of every module that the code imports, whether at its top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_there_are_four_dependencies_and_no_others():
    requirements = [Requirement(line) for line in PROJECT["dependencies"]]
    assert sorted(requirement.name for requirement in requirements) == ["httpx", "openai", "opentelemetry-api", "wrapt"]


@pytest.mark.parametrize("line", PROJECT["dependencies"])
def test_a_dependency_has_a_floor_and_no_ceiling(line):
    assert [bound.operator for bound in Requirement(line).specifier] == [">="]


def test_the_oldest_python_is_the_oldest_that_the_classifiers_promise():
    [bound] = Requirement(f"python {PROJECT['requires-python']}").specifier
    promised = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in PROJECT["classifiers"]]
    assert min((match[1] for match in promised if match), key=lambda text: int(text[2:])) == bound.version


def test_importing_thumbprint_imports_nothing_expensive():
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import thumbprint"], check=True, capture_output=True, text=True
    )
    modules = set(IMPORTED.findall(run.stderr))
    assert "thumbprint" in modules
    assert {name for name in modules if name.partition(".")[0] in EXPENSIVE} == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_imports_contextvars(path):
    assert "contextvars" not in set(imported_modules(ast.parse(path.read_text())))


@pytest.mark.parametrize("code", ["import contextvars", "def f():\n    from contextvars import ContextVar"])
def test_the_scan_finds_an_import_wherever_it_stands(code):
    assert "contextvars" in set(imported_modules(ast.parse(code)))


def test_the_entry_points_that_are_promised_can_be_loaded():
    points = distribution("thumbprint").entry_points
    assert {point.group for point in points} == {"console_scripts", *PROJECT["entry-points"]}
    for point in points:
        assert callable(point.load())
