"""What a Worker calls."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from .._default import _recorder as default_recorder
from .._default import configure_once
from ..backends import OpenTelemetry
from ..delivery import bounded
from ._ai import AI, given
from ._gateway import AIGateway

if TYPE_CHECKING:
    from .._client import Thumbprint
    from .._model import Status
    from ..delivery import Receipt

SETTLE_TIMEOUT: Final = 25.0  # seconds; a Worker may go on for 30 after its response
SETTLE_EVERY: Final = 0.5  # seconds between two attempts


def configure(
    binding: Any, *, gateway_id: str | None = None, secret: str | None = None, disabled: bool | None = None
) -> Thumbprint:
    """Have the process-wide default deliver by a Worker's `AI` binding, and return it.

    Called with the same again it does nothing: call it in each request, for the binding comes with one. `gateway_id`,
    `secret` and `disabled` are as in `AIGateway` and in `thumbprint.configure`, and raise what that raises.
    """
    return configure_once(
        backends=[AIGateway(binding, gateway_id=gateway_id), OpenTelemetry(spans=False)],
        delivery="inline",
        secret=secret,
        disabled=disabled,
    )


def wrap(binding: Any, *, thumbprint: Thumbprint | None = None) -> AI:
    """Return a Worker's `AI` binding with its calls captured: `AI = thumbprint.workers.wrap(env.AI)`.

    Use it in place of the binding everywhere: where both are used at the same time, the binding itself mixes up what
    form their answers have. `thumbprint`: who records, the process-wide default if left out.

    What a call gives leads to it: the answer (but for strings and numbers), the stream, the response, the error; and so
    does the scope that it was made in. Raises UnsupportedClientError for what is no such binding.
    """
    if isinstance(binding, AI) and thumbprint is None:
        return binding
    return AI(given(binding), thumbprint.recorder if thumbprint else default_recorder)


async def settle(receipt: Receipt, *, timeout: float = SETTLE_TIMEOUT) -> Status:  # noqa: ASYNC109 - as in `wait`
    """Await a receipt, again and again, until nothing of it is queued, at most `timeout` seconds; return its status.

    A log is written some seconds after its answer, so that feedback which comes at once may have to be tried again:
    `ctx.waitUntil(thumbprint.workers.settle(receipt))` does so after the Worker has responded. The receipt itself is
    nothing for JavaScript: awaited it gives itself, and a promise awaits what it is given, without end.
    """
    ends_at = time.monotonic() + bounded(timeout)
    while (await receipt).status == "queued" and time.monotonic() < ends_at:  # noqa: ASYNC110 - nothing tells when
        await asyncio.sleep(SETTLE_EVERY)
    return receipt.status
