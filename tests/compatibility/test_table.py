"""The README's table tells what the tests show, and is told from them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


def table_module():
    spec = importlib.util.spec_from_file_location("table", FOLDER / "table.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("table", module)  # where its dataclasses look for it
    spec.loader.exec_module(module)
    return module


table = table_module()
VERSIONS = dict.fromkeys(table.CLIENTS.values(), "1.0")
README = f"before\n{table.BEGIN}\n{table.written({})}{table.END}\nafter\n"


def found(*cells):
    return table.sections([table.cell(*args, **kwargs) for *args, kwargs in cells], VERSIONS)


PLAIN = (("openai", "sync"), "`create`", "wrap", {})
STREAMED = (("openai", "async"), "`create`", "wrap", {"stream": True, "leads": "scope"})
OTHER = (("litellm", "sync"), "`completion`", "instrument", {"leads": "✗"})


def test_the_readme_tells_what_the_suites_own_tests_show():
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, FOLDER, "--collect-only", "-q", "-p", "no:cacheprovider", "tests/capture"],
        cwd=FOLDER.parents[1],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "what the tests show of: openai" in done.stdout


def test_what_is_written_into_the_readme_is_read_again_and_the_rest_stays():
    first = table.rewritten(README, found(PLAIN, STREAMED))
    both = table.rewritten(first, found(OTHER))
    assert table.read(both) == found(PLAIN, STREAMED, OTHER)
    assert (
        "| openai 1.0 | `create` | `wrap` | ✓ | | | scope |\n| litellm 1.0 | `completion` | `instrument` | ✗ | | | |\n"
        in both
    )
    assert both.startswith("before\n")
    assert both.endswith("after\n")
    assert table.rewritten(both, found(OTHER)) == both


def test_a_section_that_the_tests_tell_otherwise_is_a_difference_and_one_that_they_do_not_tell_is_none():
    readme = table.rewritten(README, found(PLAIN, OTHER))
    assert table.differences(readme, found(PLAIN)) == []
    assert table.differences(readme, {}) == []
    for cells in ([STREAMED], [PLAIN, STREAMED]):
        [fault] = table.differences(readme, found(*cells))
        assert fault.startswith("openai: the README tells")
    [fault] = table.differences(readme.replace("litellm", "lightllm"), {})
    assert "'lightllm'" in fault


def test_hooks_that_lead_to_the_same_share_a_row_and_others_have_one_each():
    instrumented, through_http = ((*PLAIN[:2], by, {}) for by in ("instrument", "wrap on its HTTP client"))
    readme = table.rewritten(README, found(instrumented, PLAIN, through_http))
    assert "| openai 1.0 | `create` | `wrap`, `instrument`, `wrap` on its HTTP client | ✓ | | | |\n" in readme
    readme = table.rewritten(README, found(PLAIN, STREAMED, instrumented))
    assert "| `create` | `wrap` | ✓ | | | scope |\n| | `create` | `instrument` | ✓ | | | |\n" in readme
    assert table.read(readme) == found(PLAIN, STREAMED, instrumented)


def test_other_versions_are_no_difference():
    readme = table.rewritten(README, found(PLAIN))
    assert table.differences(readme.replace("openai 1.0", "openai 0.9"), found(PLAIN)) == []


def test_tests_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="contradict"):
        found(PLAIN, (*PLAIN[:3], {"leads": "scope"}))


@pytest.mark.parametrize(
    "cell",
    [
        (("nobody", "sync"), "door", "wrap", {}),
        (("openai", "both"), "door", "wrap", {}),
        (*PLAIN[:2], "magic", {}),
        (*PLAIN[:3], {"leads": "yes"}),
    ],
)
def test_what_the_table_has_no_words_for_is_refused(cell):
    with pytest.raises(ValueError, match="no cell of the table"):
        found(cell)
