"""Feedback on its way: judgement, pace, transport, and the threads that carry it out."""

from ._inquiry import diagnose
from ._receipt import Receipt, Told, Tracker, bounded
from ._retry import EXPIRE_AFTER
from ._transport import HttpxTransport, Transport, load_httpx
from ._worker import Worker

__all__ = [
    "EXPIRE_AFTER",
    "HttpxTransport",
    "Receipt",
    "Told",
    "Tracker",
    "Transport",
    "Worker",
    "bounded",
    "diagnose",
    "load_httpx",
]
