"""The suite against every version that thumbprint promises to work with; `.ci/run` runs these sessions.

`nox -l` lists them, `nox -s tests-3.12` runs one, and what follows `--` goes to pytest. The benchmarks run only when
they are asked for: `nox -s benchmarks`.

What differs from one version to the next decides what is run where. A Python can differ in anything, above all in how
it ends, forks and keeps threads: each has the whole suite, with the newest packages (`tests`). The oldest packages can
too: the whole suite again (`floors`). The generations of openai between the oldest and the newest release differ only
where the SDK is met (`sdks`). The wheel holds the code that the other sessions have tested, so that only what could
be missing from it is looked at (`wheel`).
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
# Frameworks whose clients are captured, by the generation of the openai package that they go with: the lowest releases
# that count as current, so that a resolver which would go back for years fails at once.
FRAMEWORKS = {
    "openai-2": (
        "openai>=2,<3",
        "instructor>=1.17",
        "llama-index-llms-openai>=0.8",
        "llama-index-embeddings-openai>=0.7",
    ),
    "openai-3": (
        *("openai>=3.50", "openai-agents>=0.24", "pydantic-ai-slim[openai]>=2.68"),
        *("langchain>=1.5", "langchain-openai>=1.7", "litellm>=1.110"),
    ),
}

PEERS = (  # which the benchmarks measure
    *("braintrust", "cloudflare", "itsdangerous", "langfuse", "langsmith", "openinference-instrumentation-openai"),
    # Of the latter, the newest that the former goes with.
    *("opentelemetry-instrumentation-openai-v2==2.4b0", "opentelemetry-util-genai==1.1b0"),
)

# SDKs that are captured without being known by name; too many, and some too heavy, for every run.
PROVIDERS = (
    "cerebras_cloud_sdk",
    "google-genai",
    "litellm",
    "mistralai",
    "perplexityai",
    "sambanova",
    "together",
)

# The tests in these meet no SDK of a model's.
WITHOUT_SDK = (
    "backends",
    "commands/test_outbox.py",
    "commands/test_worker.py",
    "delivery",
    "packaging",
    "stores",
    "test_architecture.py",
    "test_cli.py",
    "test_feedback.py",
    "test_model.py",
)

# The tests in these meet what a wheel could lack: each module, the files beside them, the program, the entry points.
OF_THE_WHEEL = (
    "capture",
    "commands/test_demo.py",
    "emulator",
    "packaging",
    "test_architecture.py",
    "test_cli.py",
    "test_examples.py",
    "test_readme.py",
)

# Asked of the interpreter that pytest is about to run in, from the folder that it runs in.
PRINT_ORIGIN = "import thumbprint; print(thumbprint.__file__)"


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the suite on one Python with the newest releases. On one of them, `.ci/run` begins with all of this."""
    session.install("-e", ".[dev]")
    run_suite(session)


@nox.session(python=PYTHONS[0])
def floors(session: nox.Session) -> None:
    """Run the suite with the oldest releases that pyproject.toml allows, on the oldest Python.

    That is where they are met: who keeps old packages keeps an old Python. And a floor is promised for all of the
    library: httpx delivers, redis stores, wrapt and openai capture, OpenTelemetry carries the scope. Without anthropic:
    it brings httpx2, and the oldest httpx does not go together with that.
    """
    extras = PROJECT["optional-dependencies"]
    left_out = {PROJECT["name"], "anthropic"}
    others = [line for line in extras["dev"] if Requirement(line).name not in left_out]
    lines = [*PROJECT["dependencies"], *extras["redis"]]
    session.install("-e", ".[redis]", *others, *(floor(Requirement(line)) for line in lines))
    run_suite(session)


@nox.session
@nox.parametrize(
    "python,openai",
    [nox.param(PYTHONS[-1], "openai<2", id="openai-1"), nox.param(PYTHONS[-2], "openai>=2,<3", id="openai-2")],
)
def sdks(session: nox.Session, openai: str) -> None:
    """Run the tests that meet an SDK with the last release of an earlier generation of openai.

    Each on one Python, since what is hooked in an SDK does not depend on that, and on a newer one than `floors`: what
    an old release does on a Python that came after it is seen here and nowhere else.
    """
    session.install("-e", ".[dev]", openai)
    run_suite(session, *(f"--ignore=tests/{path}" for path in WITHOUT_SDK))


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the sdist, from that the wheel, look into both, and test the installed wheel for what it could lack."""
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
    run_suite(session, *(f"tests/{path}" for path in OF_THE_WHEEL))


@nox.session(python=PYTHONS[0])
def providers(session: nox.Session) -> None:
    """Show that the current releases of other SDKs are captured (tests/providers)."""
    session.install("-e", ".[dev]", *PROVIDERS)
    session.run("python", "-m", "pip", "list")
    session.run("python", "tests/compatibility", *session.posargs, "tests/providers")


@nox.session(python=PYTHONS[0])
def checkers(session: nox.Session) -> None:
    """Have pyright and ty see in the public API what mypy sees (tests/typing)."""
    session.install("-e", ".[dev]", "pyright", "ty")
    session.run("python", "tests/typing/checkers.py")


@nox.session
@nox.parametrize("packages", [nox.param(packages, id=name) for name, packages in FRAMEWORKS.items()])
def frameworks(session: nox.Session, packages: tuple[str, ...]) -> None:
    """See that README.md's table tells of current frameworks what their tests show; `-- --write` writes it."""
    session.install("-e", ".", "pytest", *packages)
    session.run("python", "tests/compatibility", "-W", "ignore", *session.posargs, "tests/frameworks")


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
