"""What git holds works on any machine: no registry's address, no machine's paths, no lock file, no stray folder."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The patterns are written so that they do not match themselves: this file is tracked too.
REGISTRIES = re.compile(
    r"\bpypi\.(?:org|io|python)|pythonhosted\.org|registry\.(?:npmjs|yarnpkg)\.|deb\.debian\.|proxy\.golang\."
    r"|\b(?:extra-)?index-url\b|\bfind-links\b|\b(?:PIP|UV)_(?:EXTRA_)?INDEX|\bPIP_FIND_LINKS",
    re.IGNORECASE,
)
MACHINE_PATHS = re.compile(
    r"(?<![\w.$}:/~-])/(?:[r]oot|[h]ome|[U]sers|[w]ork|[o]pt|[m]nt|[s]rv|[t]mp/\w)(?=/)|\b[C-Z]:\\{1,2}[UW]\w+\\"
)
LOCK_FILE = re.compile(r".*\.lock|.*[.-]lock\.(?:json|ya?ml)|pylock.*\.toml|npm-shrinkwrap\.json|requirements.*\.txt")

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "examples",
    "noxfile.py",
    "pyproject.toml",
    "src",
    "tests",
}


@pytest.fixture(scope="module")
def tracked():
    """Return the paths of all files that git holds, relative to the root."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],  # noqa: S607 - whatever git a developer has
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    # What is deleted but not yet committed is of no interest.
    return [Path(name) for name in listing.split("\0") if name and (ROOT / name).is_file()]


def matches(pattern, tracked):
    """Return `file:line: text` for every line that the pattern is found in; itself excepted."""
    return [
        f"{path}:{number}: {line.strip()}"
        for path in tracked
        if ROOT / path != Path(__file__)
        for number, line in enumerate((ROOT / path).read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_package_registry(tracked):
    assert matches(REGISTRIES, tracked) == []


def test_no_file_names_a_folder_of_somebodys_machine(tracked):
    assert matches(MACHINE_PATHS, tracked) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('open("/{}/thumbprint/x")', True),
        ("see /{}/you/x", True),
        ("sqlite:////{}/x", False),
        ("https://a.example/{}/x", False),
        ("/v1/{}/x", False),
        ("~/{}/x", False),
    ],
)
def test_paths_are_told_from_addresses(text, found):
    assert bool(MACHINE_PATHS.search(text.format("home"))) is found


def test_no_lock_file_is_tracked(tracked):
    assert [path for path in tracked if LOCK_FILE.fullmatch(path.name)] == []


def test_the_top_level_holds_what_the_design_names_and_nothing_else(tracked):
    assert {path.parts[0] for path in tracked} <= TOP_LEVEL


def test_what_was_built_is_not_tracked(tracked):
    assert [path for path in tracked if path.suffix in {".pyc", ".so", ".whl", ".gz"}] == []
