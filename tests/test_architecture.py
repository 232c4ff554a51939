"""The house of the design, held: who may know whom, who alone touches what, and what is shown to the public."""

from __future__ import annotations

import ast
import graphlib
import importlib
import inspect
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import thumbprint

PACKAGE = "thumbprint"
SOURCE = Path(thumbprint.__file__).parent

# The rooms, from the lowest floor to the highest. Each knows only rooms on the floors below its own; the package's own
# `__init__`, the front door, is a room as well: what stands above it is written against the public names.
FLOORS = (
    {"errors", "_fork"},
    {"_log", "_metrics"},
    {"_model"},
    {"_call", "_excerpt", "_operation", "_secrets", "_token", "_unresolved", "_words"},
    {"_scope", "backends", "stores"},
    {"_events", "_feedback", "_resolve", "capture", "delivery"},
    {"_admission", "_config"},
    {"_resolver", "_row_queue"},
    {"_dispatch"},
    {"_client"},
    {"_default"},
    {"_instrumentor", "web", "workers"},
    {"__init__"},
    {"_demo"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

# A building of its own: it stands in for the services, so it must not know what thumbprint believes of them.
EMULATOR = "emulator"
MAY_KNOW_EMULATOR = {"_demo", "commands"}

# What only one room may import, and what none may.
ONLY_IN = {
    "httpx": {"delivery"},
    "js": {"workers"},
    "opentelemetry._logs": {"_events"},
    "opentelemetry.baggage": {"_scope"},
    "opentelemetry.context": {"_scope"},
    "opentelemetry.metrics": {"_metrics"},
    "pyodide": {"workers"},
    "redis": {"stores"},
    "sqlite3": {"stores"},
    "wrapt": {"capture"},
}
NOWHERE = {"contextvars", "anthropic", "httpx2", "pydantic", "requests", "aiohttp", "asgiref", "django", "fastapi",
           "flask", "starlette", "uvicorn", "waitress", "werkzeug"}  # fmt: skip
ONLY_FOR_TYPES_OR_WHEN_NEEDED = {"httpx", "js", "openai", "pyodide", "redis", "sqlite3"}


class Import(NamedTuple):
    """One imported name: by which module, what, and where it is written."""

    module: str
    name: str
    line: int
    at_import: bool


def module_name(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def room_of(module):
    inside = module.removeprefix(PACKAGE).removeprefix(".")
    return inside.split(".")[0] or "__init__"


@cache
def tree_of(module):
    return ast.parse(PATHS[module].read_text())


@cache
def imports_of(module):
    """Return all imports of a module with their full names, those in functions and under TYPE_CHECKING too."""
    tree = tree_of(module)
    deferred = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, (ast.FunctionDef, ast.AsyncFunctionDef))
        or (isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING")
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = absolute(module, node)
            names = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [Import(module, name, node.lineno, id(node) not in deferred) for name in names]
    return tuple(found)


def absolute(module, node):
    """Return the full name of what a `from … import` reaches into."""
    if not node.level:
        return node.module
    package = module if PATHS[module].name == "__init__.py" else module.rpartition(".")[0]
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


EVERY_IMPORT = [found for module in PATHS for found in imports_of(module)]


def module_behind(name):
    """Return the module of the house that an imported name leads to: the name itself, or where it is taken from."""
    return name if name in PATHS else name.rpartition(".")[0]


INSIDE = [found for found in EVERY_IMPORT if found.name.split(".")[0] == PACKAGE]
OUTSIDE = [found for found in EVERY_IMPORT if found.name.split(".")[0] != PACKAGE]


def written(found):
    return f"{PATHS[found.module].relative_to(SOURCE)}:{found.line} imports {found.name}"


def reaches(name, target):
    return name == target or name.startswith(f"{target}.")


# who knows whom


def test_the_walk_through_the_house_finds_what_is_known_to_be_there():
    assert {"thumbprint", "thumbprint._scope", "thumbprint.capture._sdk", "thumbprint.emulator"} <= PATHS.keys()
    names = {(found.module, found.name) for found in EVERY_IMPORT}
    assert ("thumbprint._scope", "thumbprint._call.Call") in names  # under TYPE_CHECKING
    assert ("thumbprint.delivery._lane", "thumbprint._scope.run_untraced") in names  # from above
    assert ("thumbprint._default", "thumbprint.capture") in names  # a module by itself
    assert any(found.name == "httpx" and not found.at_import for found in OUTSIDE)  # in a function


def test_every_module_is_in_a_room_that_has_a_place():
    rooms = {room_of(module) for module in PATHS}
    assert rooms - FLOOR_OF.keys() - {EMULATOR} == set()
    assert sum(map(len, FLOORS)) == len(FLOOR_OF)


def test_each_room_knows_only_the_rooms_below():
    upwards = [
        written(found)
        for found in INSIDE
        for mine, other in [(room_of(found.module), room_of(module_behind(found.name)))]
        if mine != other and EMULATOR not in (mine, other) and FLOOR_OF[other] >= FLOOR_OF[mine]
    ]
    assert upwards == []


def test_the_emulator_knows_nothing_of_the_house_but_its_errors():
    known = {
        room_of(module_behind(found.name)): written(found) for found in INSIDE if room_of(found.module) == EMULATOR
    }
    assert set(known) <= {EMULATOR, "errors"}, known


def test_only_the_demo_and_the_commands_know_the_emulator():
    knowing = {
        room_of(found.module): written(found) for found in INSIDE if room_of(module_behind(found.name)) == EMULATOR
    }
    assert set(knowing) - {EMULATOR} <= MAY_KNOW_EMULATOR, knowing


def test_no_module_leads_back_to_itself():
    known = {module: set() for module in PATHS}
    for found in INSIDE:
        known[found.module].add(module_behind(found.name))
    list(graphlib.TopologicalSorter(known).static_order())  # raises CycleError with the circle


def test_everything_imported_from_the_house_is_there():
    missing = [written(found) for found in INSIDE if module_behind(found.name) not in PATHS]
    assert missing == []


def test_private_modules_of_a_room_are_imported_by_that_room_only():
    intruders = [
        written(found)
        for found in INSIDE
        for behind in [module_behind(found.name)]
        if any(part.startswith("_") for part in behind.split(".")[2:]) and room_of(behind) != room_of(found.module)
    ]
    assert intruders == []


def test_each_command_is_a_file_that_the_command_line_knows():
    cli = importlib.import_module("thumbprint.cli")
    files = {module for module in PATHS if room_of(module) == "commands" and declares(module, {"add", "run"})}
    assert {command.__name__ for command in cli.COMMANDS} == files
    assert files == {module for module in PATHS if module.startswith("thumbprint.commands.") and is_public(module)} - {
        "thumbprint.commands.exit_status"
    }


def declares(module, names):
    return names <= {node.name for node in tree_of(module).body if isinstance(node, ast.FunctionDef)}


# who alone touches what


@pytest.mark.parametrize(("target", "rooms"), ONLY_IN.items())
def test_a_dependency_is_imported_by_its_own_room_only(target, rooms):
    importers = [found for found in OUTSIDE if reaches(found.name, target)]
    assert {room_of(found.module) for found in importers} == rooms, [written(found) for found in importers]


@pytest.mark.parametrize("target", sorted(NOWHERE))
def test_a_package_that_is_no_dependency_is_imported_nowhere(target):
    assert [written(found) for found in OUTSIDE if reaches(found.name, target)] == []


@pytest.mark.parametrize("target", sorted(ONLY_FOR_TYPES_OR_WHEN_NEEDED))
def test_a_module_that_costs_time_is_imported_only_when_it_is_needed(target):
    assert [written(found) for found in OUTSIDE if reaches(found.name, target) and found.at_import] == []


def test_nothing_but_the_declared_dependencies_is_imported():
    declared = {"httpx", "openai", "opentelemetry", "redis", "wrapt"}
    declared |= {"js", "pyodide"}  # part of Pyodide, in which alone they are imported
    foreign = {found.name.split(".")[0] for found in OUTSIDE} - set(sys.stdlib_module_names)
    assert foreign <= declared


def test_no_module_is_imported_by_a_name_in_a_string_from_where_the_tests_above_do_not_see_it():
    dynamic = [
        f"{module}:{node.lineno}"
        for module in PATHS
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"__import__", "importlib.import_module", "import_module"}
    ]
    assert dynamic == []


def test_only_the_configuration_reads_the_environment():
    readers = set()
    for module in PATHS:
        for node in ast.walk(tree_of(module)):
            reads = (
                isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "getenvb"}
            ) and (isinstance(node.value, ast.Name) and node.value.id == "os")
            if reads:
                readers.add(room_of(module))
        for found in imports_of(module):
            if found.name in {"os.environ", "os.environb", "os.getenv", "os.getenvb"}:
                readers.add(room_of(module))
    assert readers == {"_config"}


def test_the_values_stand_on_the_standard_library_alone():
    for module in ("thumbprint._model", "thumbprint.errors"):
        assert {found.name.split(".")[0] for found in imports_of(module)} <= set(sys.stdlib_module_names)


def test_what_the_endpoint_decides_knows_no_protocol_and_asgi_and_wsgi_know_each_other_as_little():
    shells = {"thumbprint.web.asgi", "thumbprint.web.wsgi"}
    shared = [module for module in PATHS if room_of(module) == "web" and module not in shells]
    waiting = [
        module for module in shared if any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(tree_of(module)))
    ]
    assert {f"thumbprint.web.{name}" for name in ("_cors", "_desk", "_fields", "_headers", "_pages", "_visits")} <= set(
        shared
    )
    assert waiting == []
    assert [written(found) for found in INSIDE if module_behind(found.name) in shells] == []


def test_what_the_web_room_knows_of_http_is_pure():
    pure = {"_cors", "_fields", "_headers", "_pages"}
    known = {
        found.name.split(".")[0] for name in pure for found in imports_of(f"thumbprint.web.{name}") if found.at_import
    }
    assert known <= {
        "__future__",
        "base64",
        "collections",
        "hashlib",
        "html",
        "json",
        "re",
        "thumbprint",
        "typing",
        "urllib",
    }


def test_importing_the_package_imports_nothing_that_costs_time():
    script = "import sys, thumbprint; print(*sys.modules, sep='\\n')"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True, env=environ)
    loaded = set(done.stdout.split())
    assert "thumbprint._scope" in loaded
    costly = {"anthropic", "httpx", "httpx2", "openai", "opentelemetry.sdk", "opentelemetry.trace", "pydantic", "redis",
              "sqlite3", "thumbprint.cli", "thumbprint.emulator", "thumbprint.web", "thumbprint.workers"}  # fmt: skip
    assert loaded & costly == set()


# what is shown


def declares_all(module):
    return any(
        isinstance(node, (ast.Assign, ast.AnnAssign)) and "__all__" in ast.unparse(node).partition("=")[0]
        for node in tree_of(module).body
    )


# A package shows what is in its `__all__`; so does a module that has one.
SHOWN = [module for module in PATHS if declares_all(module)]


def is_public(module):
    return not any(part.startswith("_") for part in module.split("."))


def test_every_public_package_and_the_errors_declare_what_they_show():
    packages = {module for module in PATHS if PATHS[module].name == "__init__.py" and is_public(module)}
    empty = {module for module in packages if not imports_of(module)}  # a folder of modules that are public themselves
    assert packages - empty <= set(SHOWN)
    assert {"thumbprint", "thumbprint.errors"} <= set(SHOWN)


@pytest.mark.parametrize("module", SHOWN)
def test_what_a_module_shows_is_sorted_complete_and_there(module):
    shown = importlib.import_module(module)
    there = {
        name
        for name, value in vars(shown).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name not in {"annotations", "TYPE_CHECKING"}
    }
    if PATHS[module].name != "__init__.py":  # it shows what it makes, not what it stands on
        there = {name for name in there if getattr(vars(shown)[name], "__module__", module) == module}
    names = shown.__all__
    assert list(names) == sorted(set(names), key=as_linters_sort)
    assert set(names) == there


def as_linters_sort(name):
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


def test_the_front_door_shows_every_error():
    errors = importlib.import_module("thumbprint.errors")
    for name in errors.__all__:
        assert name in thumbprint.__all__
        assert getattr(thumbprint, name) is getattr(errors, name)


def test_what_the_package_shows_of_itself_is_in_its_all():
    assert set(thumbprint.__all__) <= set(dir(thumbprint))
    namespace = {}
    exec("from thumbprint import *", namespace)  # noqa: S102
    assert set(thumbprint.__all__) <= namespace.keys()


def public_definitions(node, path):
    """Yield the dotted names of public classes, functions and methods, and their nodes; not those inside functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not child.name.startswith("_"):
            yield f"{path}.{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public_definitions(child, f"{path}.{child.name}")
        elif isinstance(child, (ast.If, ast.Try)):
            yield from public_definitions(child, path)


@pytest.mark.parametrize("module", PATHS)
def test_every_module_and_everything_public_in_it_has_a_docstring(module):
    tree = tree_of(module)
    bare = [name for name, node in public_definitions(tree, module) if not ast.get_docstring(node)]
    assert bare == []
    assert ast.get_docstring(tree)


@pytest.mark.parametrize("name", [name for name in thumbprint.__all__ if name[0].islower()])
def test_a_function_of_the_package_takes_what_the_method_of_a_thumbprint_takes(name):
    if name == "configure":
        method, skipped = thumbprint.Thumbprint.__init__, 1
    elif name == "current_scope":
        assert not inspect.signature(thumbprint.current_scope).parameters
        return
    else:
        method, skipped = getattr(thumbprint.Thumbprint, name), 1
    of_function = list(inspect.signature(getattr(thumbprint, name)).parameters.values())
    of_method = list(inspect.signature(method).parameters.values())[skipped:]
    assert of_function == of_method


def test_the_package_is_marked_as_typed():
    assert (SOURCE / "py.typed").is_file()
