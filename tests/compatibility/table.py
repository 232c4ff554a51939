"""The table in README.md of what is captured: by client, door, hook and way of calling, each cell a test that runs.

A test is a cell where it bears three marks: `client(NAME, "sync" or "async")`, with a name of CLIENTS,
`door(NAME, stream=…, leads=…)`, and `by(HOOK)`, one of HOOKS. Pure functions over texts and the cells that a run
collected.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The clients that the table may have, in its order, and the package whose version is told for each.
CLIENTS: Final = {
    "openai": "openai",
    "openai, Azure": "openai",
    "openai, module": "openai",
    "anthropic": "anthropic",
    "groq": "groq",
    "cerebras": "cerebras_cloud_sdk",
    "perplexity": "perplexityai",
    "sambanova": "sambanova",
    "together": "together",
    "httpx": "httpx",
    "httpx2": "httpx2",
    "mistralai": "mistralai",
    "google-genai": "google-genai",
    "openai-agents": "openai-agents",
    "pydantic-ai": "pydantic-ai-slim",
    "langchain-openai": "langchain-openai",
    "langchain": "langchain",
    "litellm": "litellm",
    "litellm, own HTTP client": "litellm",
    "instructor": "instructor",
    "llama-index": "llama-index-core",
}

BOTH: Final = "✓"  # the call is in the scope around it, and what the door gives is a target
SCOPE: Final = "scope"  # it is in the scope; what the door gives bears no id
RESULT: Final = "result"  # what the door gives is a target; the scope is not where the call is made
NEITHER: Final = "✗"

HOOKS: Final = ("wrap", "instrument", "wrap on its HTTP client")
WAYS: Final = ("sync", "async", "sync stream", "async stream")
BEGIN: Final = "<!-- made by tests/compatibility: begin -->"
END: Final = "<!-- made by tests/compatibility: end -->"
HEAD: Final = (("client", "call", "captured by", *WAYS), ("---",) * (3 + len(WAYS)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one test shows: `leads` is BOTH, SCOPE, RESULT or NEITHER."""

    client: str
    door: str
    by: str
    way: str
    leads: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows of one client: door and hooks → way → what it leads to. `version` is that with which they were made."""

    version: str
    rows: Mapping[tuple[str, str], Mapping[str, str]]


def cell(client: tuple[str, str], door: str, by: str, *, stream: bool = False, leads: str = BOTH) -> Cell:
    """Return the cell that a test's marks tell of. Raises ValueError for words that the table does not know."""
    name, way = client
    if stream:
        way = f"{way} stream"
    if name not in CLIENTS or by not in HOOKS or way not in WAYS or leads not in {BOTH, SCOPE, RESULT, NEITHER}:
        raise ValueError(f"no cell of the table: client {name!r}, by {by!r}, {way!r}, leads={leads!r}")
    return Cell(client=name, door=door, by=by, way=way, leads=leads)


def sections(cells: Iterable[Cell], versions: Mapping[str, str]) -> dict[str, Section]:
    """Return client → its rows, in the order of the cells. Raises ValueError where two tests contradict each other."""
    doors: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
    for each in cells:
        row = doors.setdefault(each.client, {}).setdefault(each.door, {}).setdefault(each.by, {})
        if row.setdefault(each.way, each.leads) != each.leads:
            raise ValueError(f"two tests contradict each other: {row[each.way]!r}, and {each}")
    return {
        name: Section(version=versions[CLIENTS[name]], rows=_rows(doors[name])) for name in CLIENTS if name in doors
    }


def _rows(doors: Mapping[str, Mapping[str, Mapping[str, str]]]) -> dict[tuple[str, str], Mapping[str, str]]:
    """Return a row for each door and hook; hooks that lead to the same share one."""
    rows: dict[tuple[str, str], Mapping[str, str]] = {}
    for door, by_hook in doors.items():
        alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for hook in HOOKS:
            if hook in by_hook:
                alike.setdefault(tuple(sorted(by_hook[hook].items())), []).append(_shown_hook(hook))
        for row, hooks in alike.items():
            rows[door, ", ".join(hooks)] = dict(row)
    return rows


def _shown_hook(hook: str) -> str:
    function, _, where = hook.partition(" ")
    return f"`{function}` {where}".strip()


def written(table: Mapping[str, Section]) -> str:
    """Return the table as Markdown."""
    lines = [*HEAD]
    for name in CLIENTS:
        section = table.get(name, Section(version="", rows={}))
        for number, ((door, by), row) in enumerate(section.rows.items()):
            client = f"{name} {section.version}" if number == 0 else ""
            lines.append((client, door, by, *(row.get(way, "") for way in WAYS)))
    return "".join(f"| {' | '.join(fields)} |\n".replace("|  ", "| ") for fields in lines)


def read(readme: str) -> dict[str, Section]:
    """Return the table that stands in the README."""
    table: dict[str, Section] = {}
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for line in _between(readme).strip().splitlines()[len(HEAD) :]:
        client, door, by, *words = [field.strip() for field in line.strip("|").split("|")]
        if client:
            name, _, version = client.rpartition(" ")
            table[name] = Section(version=version, rows=(rows := {}))
        rows[door, by] = {way: word for way, word in zip(WAYS, words, strict=True) if word}
    return table


def rewritten(readme: str, found: Mapping[str, Section]) -> str:
    """Return the README with the sections that were found in the place of its own; it keeps the others."""
    table = read(readme) | found
    return readme.replace(_between(readme), f"\n{written(table)}")


def differences(readme: str, found: Mapping[str, Section]) -> list[str]:
    """Return what the README's table tells otherwise than the tests do; versions may differ."""
    table = read(readme)
    faults = [f"the README knows {name!r}, which no list of clients does" for name in table if name not in CLIENTS]
    for name, section in found.items():
        told = table.get(name, Section(version="", rows={}))
        if list(told.rows.items()) != list(section.rows.items()):
            faults.append(f"{name}: the README tells\n{_shown(name, told)}the tests are\n{_shown(name, section)}")
    return faults


def _shown(name: str, section: Section) -> str:
    return written({name: dataclasses.replace(section, version="")})


def _between(readme: str) -> str:
    return readme.partition(BEGIN)[2].partition(END)[0]
