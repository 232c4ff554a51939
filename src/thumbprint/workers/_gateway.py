"""The log entries of Cloudflare AI Gateway as a Worker reaches them: by its binding, without a token or a socket."""

from __future__ import annotations

import json
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..backends import Answer, Backend, Cloudflare
from ..backends.cloudflare import LOG_ID, log_at
from ..delivery import TransportError
from ..errors import MissingCredentialsError
from . import _javascript as javascript

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._model import Feedback, LogRef
    from ..backends import Exchange, HttpRequest, Plan

NOT_FOUND: Final = "AiGatewayLogNotFound"  # the name of the one error that the binding tells from others


@dataclass(frozen=True)
class AIGateway(Backend):
    """Cloudflare AI Gateway, by the `AI` binding of a Python Worker: `configure(backends=[AIGateway(env.AI)])`.

    `binding` is `env.AI`, as it is or wrapped. It needs no API token and reaches the gateways of its own account.
    `gateway_id` is needed only for log entries that do not tell theirs; where it is None it comes from
    `CLOUDFLARE_GATEWAY_ID`. Feedback is delivered when its receipt is awaited. What the binding does not tell apart
    (a gateway that is down, words that it refuses) is tried again until it expires.
    """

    binding: Any = field(repr=False)
    _: KW_ONLY
    gateway_id: str | None = None
    _service: Cloudflare = field(init=False, repr=False, compare=False)

    name: ClassVar[str] = Cloudflare.name
    id_headers: ClassVar[tuple[str, ...]] = (LOG_ID,)
    environment: ClassVar[Mapping[str, str]] = {"gateway_id": Cloudflare.environment["gateway_id"]}

    def __post_init__(self) -> None:
        """Keep the runtime's own binding, for two wrappers around it are not equal; raise ConfigurationError."""
        object.__setattr__(self, "binding", unwrapped(self.binding))
        object.__setattr__(self, "_service", Cloudflare(gateway_id=self.gateway_id))

    @property
    def home(self) -> Mapping[str, str]:
        """The gateway, where it is set."""
        return {"gateway_id": self.gateway_id} if self.gateway_id else {}

    def recognise(self, exchange: Exchange) -> LogRef | None:
        """Return the log entry that `cf-aig-log-id` names."""
        return self._service.recognise(exchange)

    def repeats(self, exchange: Exchange) -> bool:
        """Whether the gateway answered from its cache."""
        return self._service.repeats(exchange)

    def check(self, ref: LogRef) -> None:
        """Raise MissingCredentialsError where the gateway is not known."""
        if not (ref.gateway_id or self.gateway_id):
            variable = self.environment["gateway_id"]
            raise MissingCredentialsError(
                f"feedback for the Cloudflare log {ref.id} needs its gateway: pass gateway_id=… to "
                f"thumbprint.workers.configure() or AIGateway(), or set {variable}",
                variable=variable,
            )
        replace(self._service, api_token="none", account_id="own").check(ref)  # which asks for these too

    def unsupported(self, feedback: Feedback) -> tuple[str, ...]:
        """Return the metadata entries that a log cannot hold."""
        return self._service.unsupported(feedback)

    def deliver(self, batch: Sequence[tuple[LogRef, Feedback]]) -> Plan:
        """Return the plan of the REST API, whose requests `carry` hands to the binding."""
        return self._service.deliver(batch)

    async def carry(self, request: HttpRequest) -> Answer:
        """Read or patch a log by the binding; return what the REST API would have answered."""
        gateway_id, log_id = log_at(request.url)
        try:
            gateway = self.binding.gateway(gateway_id)
            if request.method == "GET":
                result = javascript.to_json(await gateway.getLog(log_id))
            else:
                await gateway.patchLog(log_id, javascript.from_json(json.dumps(request.json)))
                result = "{}"
        except Exception as error:  # of JavaScript's
            if NOT_FOUND not in str(error):
                raise TransportError(str(error)) from None
            return Answer(status=404, content=str(error).encode())
        return Answer(status=200, content=f'{{"success":true,"result":{result}}}'.encode())


def unwrapped(binding: Any) -> Any:
    """Return the runtime's own binding, which workers-runtime-sdk wraps, and so do we."""
    return getattr(binding, "_binding", binding)
