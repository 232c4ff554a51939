"""Every error that thumbprint raises by itself.

    ThumbprintError
    ├── ConfigurationError (also ValueError)        a setting is missing or cannot be used
    │   └── MissingCredentialsError                 a service's key or id is not set
    ├── ArgumentValueError (also ValueError)        an argument says what cannot be meant
    ├── ArgumentTypeError (also TypeError)          an argument is of the wrong type
    ├── StoreError                                  a store cannot be opened, read or written
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
    "MissingCredentialsError",
    "StoreError",
    "ThumbprintError",
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


class ArgumentValueError(ThumbprintError, ValueError):
    """An argument of `record_feedback` says what cannot be meant; `argument` is its name."""

    def __init__(self, message: str, *, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument


class ArgumentTypeError(ThumbprintError, TypeError):
    """An argument of `record_feedback` is of the wrong type; `argument` is its name."""

    def __init__(self, message: str, *, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument


class StoreError(ThumbprintError):
    """A store cannot be opened, read or written; the message names it, without its password, and says what to do."""


class UnknownTargetError(ThumbprintError, LookupError):
    """No captured call is behind the target; the message says what was looked at."""


class AmbiguousTargetError(UnknownTargetError):
    """More than one captured call is behind the target, and nothing tells which one is meant."""


class UnsupportedClientError(ThumbprintError, TypeError):
    """What `wrap` was given is not a client whose calls can be captured."""
