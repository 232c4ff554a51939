"""Runs the scenarios where a Worker's code runs: `run.mjs` imports it, and registers `stand_in`.

The first half is the top of a Worker's module, where the runtime forbids chance.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import sys
import traceback

import opentelemetry.baggage  # noqa: F401 - it is allowed, as random is, to draw what it needs
import stand_in

DRAWS = ("choice", "getrandbits", "randint", "random", "randrange", "uniform")


@contextlib.contextmanager
def global_scope():
    """Forbid what the runtime of Workers forbids there, as a snapshot would give every request the same of it."""

    def refused(*_):
        raise OSError("Cannot get entropy outside of request context")

    allowed = [(os, "urandom", os.urandom), *((random, name, getattr(random, name)) for name in DRAWS)]
    for module, name, _ in allowed:
        setattr(module, name, refused)
    try:
        yield
    finally:
        for module, name, function in allowed:
            setattr(module, name, function)


before = set(sys.modules)
with global_scope():
    import thumbprint
    import thumbprint.workers

    @thumbprint.scope()
    async def decorated(house):
        return thumbprint.current_scope()

    thumbprint.workers.configure(stand_in.fresh().env.AI, secret="one for the global scope")
loaded = set(sys.modules) - before

import scenarios  # noqa: E402 - requests come now

from thumbprint import _default  # noqa: E402

if stand_in.kind == "sdk":
    import workers  # the package workers-runtime-sdk


class House(scenarios.House):
    """The JavaScript stand-in, as the runtime gives it or as workers-runtime-sdk wraps it."""

    def __init__(self):
        fresh = stand_in.fresh()
        env = workers.rpc._EnvWrapper(fresh.env) if stand_in.kind == "sdk" else fresh.env
        super().__init__(service=fresh.service, env=env, kind=stand_in.kind)
        self.decorated, self.loaded, self.bindings = decorated, loaded, fresh.env


async def the_worker_of_the_readme_answers_and_takes_votes(house):
    import js  # noqa: PLC0415 - as in the code of others

    [code] = re.findall(r"^```python worker\.py\n(.*?)^```$", stand_in.readme, re.DOTALL | re.MULTILINE)
    names = {}
    exec(compile(code, "worker.py", "exec"), names)  # noqa: S102 - our own README

    async def fetch(method, said=None):
        body = {} if said is None else {"body": json.dumps(said)}
        request = js.Request.new("https://worker.example/", method=method, **body)
        answer = await names["Default"](stand_in.context, house.bindings).fetch(workers.Request(request))
        return answer.status, json.loads(await answer.js_object.text())

    house.service.next("early")
    (status, answer), _ = await fetch("GET"), await fetch("GET")
    assert (status, answer["answer"]) == (200, "At the Danube.")
    status, said = await fetch("POST", {"token": answer["token"], "thumbs": "down"})
    assert (status, said["status"]) == (202, "queued")
    await stand_in.settled()
    assert [house.log(log_id).get("feedback") for log_id in house.ids()] == [-1, None]
    assert len(house.requests()) == 2


IN_PYODIDE_ALONE = [the_worker_of_the_readme_answers_and_takes_votes] if stand_in.kind == "sdk" else []


async def results():
    """Return, as JSON, scenario → None, or how it failed."""
    told = {}
    for name, scenario in [*scenarios.every(), *((each.__name__, each) for each in IN_PYODIDE_ALONE)]:
        try:
            await scenarios.run(scenario, House())
            told[name] = None
        except BaseException:
            told[name] = traceback.format_exc()
        default, _default._default = _default._default, None
        default.shutdown(0)
    return json.dumps(told)
