"""What a Worker does, in CPython, with a stand-in in place of JavaScript: where the coverage is measured."""

from __future__ import annotations

import asyncio
import json
import sys
import types
from pathlib import Path

import javascript
import pytest

import thumbprint

HERE = Path(__file__).parent
ANSWERS = json.loads((HERE / "answers.json").read_text())

scenarios = javascript.load(HERE / "scenarios.py")


@thumbprint.scope()
async def decorated(house):
    return thumbprint.current_scope()


@pytest.fixture(params=["runtime", "sdk"])
def house(request, monkeypatch):
    for name, module in javascript.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    service = javascript.Service(ANSWERS)
    binding = javascript.Ai(service)
    env = types.SimpleNamespace(AI=binding if request.param == "runtime" else javascript.Wrapper(binding))
    made = scenarios.House(service=service, env=env, kind=request.param)
    made.decorated, made.loaded = decorated, set()
    return made


@pytest.mark.parametrize("scenario", [pytest.param(function, id=name) for name, function in scenarios.every()])
def test_in_cpython(scenario, house):
    asyncio.run(scenarios.run(scenario, house))
