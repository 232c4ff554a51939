"""Every error that thumbprint raises by itself.

    ThumbprintError
    ├── ConfigurationError (also ValueError)        a setting is missing or cannot be used
    │   ├── MissingCredentialsError                 a service's key or id is not set
    │   └── MissingSecretError                      the secret that signs tokens is not set
    ├── ArgumentValueError (also ValueError)        an argument says what cannot be meant
    ├── ArgumentTypeError (also TypeError)          an argument is of the wrong type
    ├── StoreError                                  a store cannot be opened, read or written
    ├── TokenError (also ValueError)                a feedback token is refused
    │   ├── MalformedTokenError                     it is no token, or of another version, or too long
    │   ├── TokenSignatureError                     it was changed, or signed with another secret
    │   ├── TokenExpiredError                       its time is over
    │   └── TokenFieldError                         it does not allow what was said
    ├── UnknownTargetError (also LookupError)       no captured call is behind the target
    │   └── AmbiguousTargetError                    more than one is, and thumbprint does not guess
    └── UnsupportedClientError (also TypeError)     `wrap` was given what it cannot capture

All of them are raised at the caller's own call, before anything is queued. What happens to feedback later, on
its way to a service, is told by its `Receipt` and never raised.
"""

__all__ = [
    "AmbiguousTargetError",
    "ArgumentTypeError",
    "ArgumentValueError",
    "ConfigurationError",
    "MalformedTokenError",
    "MissingCredentialsError",
    "MissingSecretError",
    "StoreError",
    "ThumbprintError",
    "TokenError",
    "TokenExpiredError",
    "TokenFieldError",
    "TokenSignatureError",
    "UnknownTargetError",
    "UnsupportedClientError",
]


class ThumbprintError(Exception):
    """The root: catch it to catch all of thumbprint's own errors."""


class ConfigurationError(ThumbprintError, ValueError):
    """A setting is missing or cannot be used; the message names it and says what it takes."""


class MissingCredentialsError(ConfigurationError):
    """A service needs a key or an id that is not set; `variable` is the environment variable to set."""

    def __init__(self, message: str, *, variable: str = "") -> None:
        super().__init__(message)
        self.variable = variable


class MissingSecretError(ConfigurationError):
    """Tokens need a secret, and none is set; the message says how to make one. `variable` is the one to set."""

    def __init__(self, message: str, *, variable: str = "") -> None:
        super().__init__(message)
        self.variable = variable


class ArgumentValueError(ThumbprintError, ValueError):
    """An argument says what cannot be meant; `argument` is its name."""

    def __init__(self, message: str, *, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument


class ArgumentTypeError(ThumbprintError, TypeError):
    """An argument is of the wrong type; `argument` is its name."""

    def __init__(self, message: str, *, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument


class StoreError(ThumbprintError):
    """A store cannot be opened, read or written; the message names it, without its password, and says what to do."""


class TokenError(ThumbprintError, ValueError):
    """A feedback token is refused; no message shows the token."""


class MalformedTokenError(TokenError):
    """It is no token, or one of a version that this thumbprint does not read, or longer than 4 KiB."""


class TokenSignatureError(TokenError):
    """It was changed, or signed with a secret that is not among those that are set."""


class TokenExpiredError(TokenError):
    """Its time is over: `expired_at`, in seconds since 1970, has come."""

    def __init__(self, message: str, *, expired_at: float = 0.0) -> None:
        super().__init__(message)
        self.expired_at = expired_at


class TokenFieldError(TokenError):
    """It does not allow what was said: `field` is refused, `allowed` are the fields that are not."""

    def __init__(self, message: str, *, field: str = "", allowed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.field = field
        self.allowed = allowed


class UnknownTargetError(ThumbprintError, LookupError):
    """No captured call is behind the target; the message says what was looked at."""


class AmbiguousTargetError(UnknownTargetError):
    """More than one captured call is behind the target, and nothing tells which one is meant."""


class UnsupportedClientError(ThumbprintError, TypeError):
    """What `wrap` was given is not a client whose calls can be captured."""
