"""Where references (id → captured calls) and the outbox (feedback on its way) are kept."""

from .._model import Pace
from ._protocol import Claim, Conclusion, DataLostError, Depth, Key, Store
from ._references import References
from .buffered import BufferedStore
from .memory import MemoryStore
from .redis import RedisStore
from .sqlite import SqliteStore

__all__ = [
    "BufferedStore",
    "Claim",
    "Conclusion",
    "DataLostError",
    "Depth",
    "Key",
    "MemoryStore",
    "Pace",
    "RedisStore",
    "References",
    "SqliteStore",
    "Store",
]
