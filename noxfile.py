"""The suite against every version that thumbprint promises to work with; `.ci/run` runs these sessions.

`nox -l` lists them, `nox -s "tests-3.12(openai-2)"` runs one, and what follows `--` goes to pytest. The benchmarks run
only when they are asked for: `nox -s benchmarks`.
"""

from __future__ import annotations

import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2025.2.9"
nox.options.error_on_external_run = True

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")["project"]
PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))
OPENAI_GENERATIONS = {
    "openai-1": "openai<2",
    "openai-2": "openai>=2,<3",
    "openai-3": "openai>=3,<4",
}

PEERS = ("braintrust", "cloudflare", "itsdangerous", "langfuse", "langsmith")  # which the benchmarks measure

# The tests of these rooms meet no SDK: they are run with the newest alone.
WITHOUT_SDK = ("delivery", "stores")

# Asked of the interpreter that pytest is about to run in, from the folder that it runs in.
PRINT_ORIGIN = "import thumbprint; print(thumbprint.__file__)"


@nox.session(python=PYTHONS)
@nox.parametrize("openai", [nox.param(spec, id=name) for name, spec in OPENAI_GENERATIONS.items()])
def tests(session: nox.Session, openai: str) -> None:
    """Run the suite on one Python with the newest release of one generation of the openai package."""
    session.install("-e", ".[dev]", openai)
    newest = openai == max(OPENAI_GENERATIONS.values())
    run_suite(session, *(() if newest else [f"--ignore=tests/{folder}" for folder in WITHOUT_SDK]))


@nox.session(python=PYTHONS[0])
def floors(session: nox.Session) -> None:
    """Run the suite with the oldest releases that pyproject.toml allows, on the oldest Python."""
    lines = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["redis"]]
    session.install("-e", ".[dev]", *(floor(Requirement(line)) for line in lines))
    run_suite(session)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the sdist, from that the wheel, look into both, and run the suite against the installed wheel."""
    folder = Path(session.create_tmp()).resolve() / "dist"
    for old in folder.glob("*"):
        old.unlink()
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(folder), silent=True)
    [sdist_path] = folder.glob("*.tar.gz")
    [wheel_path] = folder.glob("*.whl")
    for fault in [*sdist_faults(sdist_path), *wheel_faults(wheel_path)]:
        session.error(fault)

    session.install(f"{wheel_path}[dev]")
    origin = Path(session.run("python", "-c", PRINT_ORIGIN, silent=True).strip())
    if not origin.is_relative_to(Path(session.virtualenv.location).resolve()):
        session.error(f"import thumbprint finds {origin}, not the installed wheel")
    run_suite(session)


@nox.session(python=PYTHONS[0], default=False)
def benchmarks(session: nox.Session) -> None:
    """Measure thumbprint beside its peers and the floors (tests/benchmarks); what follows `--` are its options."""
    session.install("-e", ".", *PEERS)
    session.run("python", "tests/benchmarks", *session.posargs)


def run_suite(session: nox.Session, *arguments: str) -> None:
    """Name the versions under test, and run pytest with the arguments and the command line's own.

    What is long (see pyproject.toml) is left out: the README's test command runs it, once.
    """
    names = sorted(Requirement(line).name for line in PROJECT["dependencies"])
    listed = "; ".join(f"print({name!r}, version({name!r}))" for name in [*names, "pydantic"])
    session.run("python", "-c", f"from importlib.metadata import version; {listed}")
    session.run("python", "-m", "pytest", "-m", "not long", *arguments, *session.posargs)


def floor(requirement: Requirement) -> str:
    """Return the requirement for just the lowest version that this one allows: `wrapt>=1.16` gives `wrapt==1.16`."""
    [lowest] = [bound.version for bound in requirement.specifier if bound.operator in {">=", "=="}]
    return f"{requirement.name}=={lowest}"


def package_files() -> set[str]:
    """Return the files of the package as the wheel has to name them."""
    package = ROOT / "src"
    return {
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def wheel_faults(path: Path) -> list[str]:
    """Return what is wrong with the wheel: files that are missing or do not belong there, and metadata."""
    info = f"{PROJECT['name']}-{PROJECT['version']}.dist-info"
    expected = package_files() | {
        f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        metadata = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode())
    faults = [f"the wheel lacks {name}" for name in sorted(expected - names)]
    faults += [f"the wheel has no place for {name}" for name in sorted(names - expected)]
    if "thumbprint/py.typed" not in names:
        faults.append("the wheel lacks thumbprint/py.typed, by which type checkers know that it is typed")

    said = {
        "Name": PROJECT["name"],
        "Version": PROJECT["version"],
        "Summary": PROJECT["description"],
        "Requires-Python": PROJECT["requires-python"],
        "License-Expression": PROJECT["license"],
        "License-File": "LICENSE",
        "Description-Content-Type": "text/markdown",
    }
    faults += [
        f"the wheel's metadata says {name}: {metadata[name]}, pyproject.toml says {value}"
        for name, value in said.items()
        if metadata[name] != value
    ]
    required = {str(Requirement(line)) for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    if required != {str(Requirement(line)) for line in PROJECT["dependencies"]}:
        faults.append(f"the wheel requires {sorted(required)}, other than pyproject.toml")
    return faults


def sdist_faults(path: Path) -> list[str]:
    """Return what the sdist lacks of the files that a packager needs to build and test from it."""
    top = f"{PROJECT['name']}-{PROJECT['version']}"
    expected = {f"src/{name}" for name in package_files()}
    expected |= {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "noxfile.py", "PKG-INFO"}
    with tarfile.open(path) as archive:
        names = {name.removeprefix(f"{top}/") for name in archive.getnames()}
    faults = [f"the sdist lacks {name}" for name in sorted(expected - names)]
    if not any(name.startswith("tests/") for name in names):
        faults.append("the sdist lacks the tests")
    return faults
