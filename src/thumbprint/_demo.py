"""`thumbprint demo`: real OpenAI SDK calls through both gateways of the emulator, and a thumb for each of them.

Everything is told as it happens, and what the services hold afterwards is read back over their own APIs. Where that is
not what was sent, the demo fails.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from . import Braintrust, Cloudflare, Thumbprint
from ._config import reach_loopback_directly
from ._words import counted
from .backends import HttpRequest
from .delivery import HttpxTransport
from .emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openai import AsyncOpenAI, OpenAI

    from ._model import LogRef
    from .delivery import Receipt

WAIT: Final = 10.0  # seconds for one delivery
QUESTION: Final = "Where is Ulm?"


class DemoError(Exception):
    """What a service holds is not what was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One call and the feedback on it: how both are written, what does them, and what the services must hold then."""

    title: str
    call: str
    feedback: str
    run: Callable[[_Stage], tuple[tuple[LogRef, ...], Receipt]]
    holds: Mapping[str, Any]


class _Stage:
    """The emulator, a Thumbprint set up for it, and clients of both gateways."""

    def __init__(self, emulator: Emulator) -> None:
        import openai  # noqa: PLC0415 - it costs half a second

        self.environ = emulator.environ()
        self.thumbprint = Thumbprint(
            delivery="background",
            backends=[
                Cloudflare(
                    api_token=self.environ["CLOUDFLARE_API_TOKEN"],
                    account_id=self.environ["CLOUDFLARE_ACCOUNT_ID"],
                    gateway_id=self.environ["CLOUDFLARE_GATEWAY_ID"],
                    base_url=self.environ["CLOUDFLARE_BASE_URL"],
                ),
                Braintrust(
                    api_key=self.environ["BRAINTRUST_API_KEY"],
                    api_url=self.environ["BRAINTRUST_API_URL"],
                    parent=self.environ["BRAINTRUST_PARENT"],
                    gateway_url=self.environ["BRAINTRUST_GATEWAY_URL"],
                ),
            ],
            store="memory://",
            disabled=False,
        )
        key = self.environ["BRAINTRUST_API_KEY"]
        wrap = self.thumbprint.wrap
        self.cloudflare: OpenAI = wrap(openai.OpenAI(base_url=emulator.cloudflare_openai_url, api_key="any"))
        self.braintrust: OpenAI = wrap(openai.OpenAI(base_url=emulator.braintrust_gateway_url, api_key=key))
        self.both: OpenAI = wrap(openai.OpenAI(base_url=emulator.chained_url, api_key=key))
        self.async_cloudflare: AsyncOpenAI = wrap(
            openai.AsyncOpenAI(base_url=emulator.cloudflare_openai_url, api_key="any")
        )
        self.async_braintrust: AsyncOpenAI = wrap(
            openai.AsyncOpenAI(base_url=emulator.braintrust_gateway_url, api_key=key)
        )

    def close(self) -> None:
        self.thumbprint.shutdown()
        for client in (self.cloudflare, self.braintrust, self.both):
            client.close()


def run() -> None:
    """Play all the steps and print an account of each; raise DemoError where one does not end as it must."""
    print("thumbprint demo: the real OpenAI SDK, a local emulator of both services, and a thumb for each answer")
    reach_loopback_directly()
    with Emulator() as emulator:
        stage = _Stage(emulator)
        transport = HttpxTransport()
        try:
            for number, step in enumerate(_STEPS, start=1):  # pragma: no branch - see below
                _play(number, step, stage, transport)
        finally:
            transport.close()
            stage.close()
    # On Python 3.11 coverage loses frames in which asyncio.run() was called; that this is printed, a test looks at.
    print(f"\nAll {len(_STEPS)} steps: each thumb is on the log entry of its very call.")  # pragma: no cover


def _play(number: int, step: _Step, stage: _Stage, transport: HttpxTransport) -> None:
    print(f"\n{number}. {step.title}")
    print(f"   call       {step.call}")
    refs, receipt = step.run(stage)
    for ref in refs:
        print(f"   captured   {ref.backend} {_id_name(ref)} {ref.id}")
    print(f"   feedback   record_feedback({step.feedback})")
    receipt.wait(WAIT)
    if [outcome.ref for outcome in receipt.outcomes] != list(refs) or receipt.status != "delivered":
        raise DemoError(f"step {number}: expected delivery to {refs}, got {receipt.outcomes}")
    print(f"   receipt    {receipt.status}, {counted(len(refs), 'log entry', 'log entries')}")
    for ref in refs:
        held = _READ_BACK[ref.backend](stage.environ, transport, ref)
        print(f"   now holds  {ref.backend}: {json.dumps(held, ensure_ascii=False)}")
        if held != step.holds[ref.backend]:
            raise DemoError(f"step {number}: {ref.backend} should hold {step.holds[ref.backend]}, but holds {held}")


def _id_name(ref: LogRef) -> str:
    return "log id" if ref.backend == "cloudflare" else "row id"


def _by_the_answer(stage: _Stage) -> tuple[tuple[LogRef, ...], Receipt]:
    with stage.thumbprint.scope() as scope:
        completion = _ask(stage.cloudflare)
    return scope.refs, stage.thumbprint.record_feedback(completion, thumbs="up", comment="Spot on.")


def _by_a_stream(stage: _Stage) -> tuple[tuple[LogRef, ...], Receipt]:
    with stage.thumbprint.scope() as scope:
        stream = stage.braintrust.chat.completions.create(model="gpt-5", messages=_messages(), stream=True)
        for _ in stream:
            pass
    return scope.refs, stage.thumbprint.record_feedback(stream, thumbs="down", expected="On the Danube.")


def _by_the_scope(stage: _Stage) -> tuple[tuple[LogRef, ...], Receipt]:
    with stage.thumbprint.scope() as scope:
        for _ in stage.cloudflare.chat.completions.create(model="gpt-5", messages=_messages(), stream=True):
            pass
        stage.cloudflare.embeddings.create(model="text-embedding-3-small", input=QUESTION)
        return (scope.refs[0],), stage.thumbprint.record_feedback(thumbs="down", tags=["geography"])


def _by_a_decorated_handler(stage: _Stage) -> tuple[tuple[LogRef, ...], Receipt]:
    @stage.thumbprint.scope()
    async def handler() -> tuple[tuple[LogRef, ...], Receipt]:
        async with stage.async_braintrust as client:
            await client.chat.completions.create(model="gpt-5", messages=_messages())
        receipt = stage.thumbprint.record_feedback(scores={"helpful": 1.0}, tags=["async"])
        return _refs_of(receipt), await receipt

    return asyncio.run(handler())


def _by_an_id(stage: _Stage) -> tuple[tuple[LogRef, ...], Receipt]:
    async def asked() -> tuple[LogRef, ...]:
        with stage.thumbprint.scope(id="message-42") as scope:
            async with stage.async_cloudflare as client:
                await client.chat.completions.create(model="gpt-5", messages=_messages())
        return scope.refs

    refs = asyncio.run(asked())
    return refs, stage.thumbprint.record_feedback("message-42", thumbs=True, source="app")  # pragma: no cover


def _to_both(stage: _Stage) -> tuple[tuple[LogRef, ...], Receipt]:
    with stage.thumbprint.scope() as scope:
        completion = _ask(stage.both)
    return scope.refs, stage.thumbprint.record_feedback(completion.id, thumbs="up")


def _change_of_mind(stage: _Stage) -> tuple[tuple[LogRef, ...], Receipt]:
    with stage.thumbprint.scope() as scope:
        completion = _ask(stage.cloudflare)
    for thumbs in ("up", "down", None):
        receipt = stage.thumbprint.record_feedback(completion, thumbs=thumbs)
    return scope.refs, receipt


def _ask(client: OpenAI) -> Any:
    return client.chat.completions.create(model="gpt-5", messages=_messages())


def _messages() -> Any:
    return [{"role": "user", "content": QUESTION}]


def _refs_of(receipt: Receipt) -> tuple[LogRef, ...]:
    return tuple(outcome.ref for outcome in receipt.outcomes)


def _cloudflare_holds(environ: Mapping[str, str], transport: HttpxTransport, ref: LogRef) -> dict[str, Any]:
    """Read a log back. A GET shows no feedback, so it is asked for by the filters of the list."""
    logs = (
        f"{environ['CLOUDFLARE_BASE_URL']}/accounts/{quote(ref.account_id or '')}"
        f"/ai-gateway/gateways/{quote(ref.gateway_id or '')}/logs"
    )
    headers = {"authorization": f"Bearer {environ['CLOUDFLARE_API_TOKEN']}"}

    def get(url: str) -> Any:
        return transport.send(HttpRequest(method="GET", url=url, headers=headers)).json()["result"]

    by_id = f"filters.key=id&filters.operator=eq&filters.value={quote(ref.id)}"
    found = [
        feedback
        for feedback in (1, -1, 0)
        if get(f"{logs}?{by_id}&filters.key=feedback&filters.operator=eq&filters.value={feedback}")
    ]
    log = get(f"{logs}/{quote(ref.id)}")
    metadata = json.loads(log["metadata"] or "{}")
    return ({"feedback": found[0]} if found else {}) | ({"metadata": metadata} if metadata else {})


def _braintrust_holds(environ: Mapping[str, str], transport: HttpxTransport, ref: LogRef) -> dict[str, Any]:
    """Read a row back: all rows of the project are fetched."""
    api = f"{environ['BRAINTRUST_API_URL']}/v1"
    headers = {"authorization": f"Bearer {environ['BRAINTRUST_API_KEY']}"}
    by_name = HttpRequest(
        method="GET", url=f"{api}/project?project_name={quote(ref.project_name or '')}", headers=headers
    )
    project_id = transport.send(by_name).json()["objects"][0]["id"]
    fetch = HttpRequest(method="POST", url=f"{api}/project_logs/{project_id}/fetch", headers=headers, json={})
    [row] = [row for row in transport.send(fetch).json()["events"] if row["id"] == ref.id]
    return {name: row[name] for name in ("scores", "expected", "tags") if row.get(name)}


_READ_BACK: Final = {"cloudflare": _cloudflare_holds, "braintrust": _braintrust_holds}

_CHAT: Final = 'chat.completions.create(model="gpt-5", …)'
_STREAM: Final = 'chat.completions.create(model="gpt-5", …, stream=True)'

_STEPS: Final = (
    _Step(
        title="Cloudflare: feedback by the answer itself",
        call=f"completion = client.{_CHAT}",
        feedback='completion, thumbs="up", comment="Spot on."',
        run=_by_the_answer,
        holds={"cloudflare": {"feedback": 1, "metadata": {"comment": "Spot on."}}},
    ),
    _Step(
        title="Braintrust: feedback by a stream that was read to its end",
        call=f"stream = client.{_STREAM}",
        feedback='stream, thumbs="down", expected="On the Danube."',
        run=_by_a_stream,
        holds={"braintrust": {"scores": {"thumbs": 0}, "expected": "On the Danube."}},
    ),
    _Step(
        title="Cloudflare: feedback by the scope that is open; it goes to the answer, not to the embedding after it",
        call=f"with scope(): client.{_STREAM}; client.embeddings.create(…)",
        feedback='thumbs="down", tags=["geography"]',
        run=_by_the_scope,
        holds={"cloudflare": {"feedback": -1, "metadata": {"tags": "geography"}}},
    ),
    _Step(
        title="Braintrust: feedback inside an async handler that is decorated with @scope()",
        call=f"await client.{_CHAT}",
        feedback='scores={"helpful": 1.0}, tags=["async"]',
        run=_by_a_decorated_handler,
        holds={"braintrust": {"scores": {"helpful": 1.0}, "tags": ["async"]}},
    ),
    _Step(
        title="Cloudflare: feedback later, by an id of the application's own",
        call=f'with scope(id="message-42"): await client.{_CHAT}',
        feedback='"message-42", thumbs=True, source="app"',
        run=_by_an_id,
        holds={"cloudflare": {"feedback": 1, "metadata": {"source": "app"}}},
    ),
    _Step(
        title="One gateway behind the other: one call becomes two log entries, and feedback goes to both",
        call=f"completion = client.{_CHAT}",
        feedback='completion.id, thumbs="up"',
        run=_to_both,
        holds={"cloudflare": {"feedback": 1}, "braintrust": {"scores": {"thumbs": 1}}},
    ),
    _Step(
        title="Cloudflare: a change of mind: up, down, taken back",
        call=f"completion = client.{_CHAT}",
        feedback='completion, thumbs=vote) for vote in ("up", "down", None',
        run=_change_of_mind,
        holds={"cloudflare": {"feedback": 0}},
    ),
)
