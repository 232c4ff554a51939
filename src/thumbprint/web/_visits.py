"""What both middlewares do for a request: open its scope, and say by what headers it is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .. import _token
from .._default import _get as default_thumbprint
from .._log import warn
from .._scope import Scope
from ..errors import ArgumentTypeError, ArgumentValueError, MissingSecretError
from ._headers import FEEDBACK_ID, FEEDBACK_TOKEN, inbound_id, is_header_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .._client import Thumbprint

    TrustIf = Callable[[Mapping[str, Any]], object]

KIND: Final = "web"  # of the warnings
UNSIGNED: Final = "web without a secret"


class Visits:
    """Opens a scope for each request, and labels its response. Neither raises: our faults are no request's."""

    def __init__(
        self,
        *,
        thumbprint: Thumbprint | None,
        trust_header: str | None,
        trust_if: TrustIf | None,
        expires_in: float,
        allow: Iterable[str],
    ) -> None:
        if trust_header is not None and not is_header_name(trust_header):
            raise ArgumentValueError(
                f"trust_header={trust_header!a:.80}: give the name of a header", argument="trust_header"
            )
        if trust_if is not None and not (callable(trust_if) and trust_header):
            raise ArgumentTypeError(
                "trust_if: give a function that takes the connection, and trust_header with it", argument="trust_if"
            )
        self._allow, _ = _token.terms(allow, expires_in, 0)
        self._expires_in = expires_in
        self._thumbprint = thumbprint
        self._trust_if = trust_if
        self._missed_secret = False
        self.trust_header = trust_header.lower() if trust_header else None

    def begin(self, connection: Mapping[str, Any], values_of: Callable[[str], Sequence[str]]) -> Scope | None:
        """Return the scope of a request, None where that fails; `values_of` gives the values of an inbound header."""
        try:
            return Scope(self._trusted_id(connection, values_of) if self.trust_header else None)
        except Exception:  # the request goes on without us
            warn(KIND, "a request has no scope", exc_info=True)
            return None

    def _trusted_id(self, connection: Mapping[str, Any], values_of: Callable[[str], Sequence[str]]) -> str | None:
        if self.trust_header is None or (self._trust_if is not None and not self._trust_if(connection)):
            return None
        return inbound_id(values_of(self.trust_header))

    def labels(self, scope: Scope) -> list[tuple[str, str]]:
        """Return the headers for a response that leaves now: the scope's id, and a token where a secret is set."""
        labels = [(FEEDBACK_ID, scope.id)]
        try:
            labels.append((FEEDBACK_TOKEN, self._token(scope)))
        except MissingSecretError as error:  # then there are no tokens, which is said once
            if not self._missed_secret:
                warn(UNSIGNED, "responses leave without a feedback token: %s", error)
            self._missed_secret = True
        except Exception:  # an environment that cannot be used, say
            warn(KIND, "a response leaves without a feedback token", exc_info=True)
        return labels

    def _token(self, scope: Scope) -> str:
        thumbprint = self._thumbprint or default_thumbprint()
        return thumbprint.token_for(scope, expires_in=self._expires_in, allow=self._allow)
