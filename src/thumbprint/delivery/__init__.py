"""Feedback on its way: judgement, pace, transport, and the threads that carry it out."""

from ._courier import Tell, carry_out
from ._handover import Handover
from ._inquiry import Unanswered, diagnose, search
from ._pace import Pacing, Paused, pacer_of
from ._receipt import AtOnce, Receipt, Told, bounded
from ._retry import EXPIRE_AFTER
from ._steps import Steps
from ._tracker import Tracker
from ._transport import HttpxTransport, Transport, TransportError, load_httpx
from ._worker import Worker

__all__ = [
    "EXPIRE_AFTER",
    "AtOnce",
    "Handover",
    "HttpxTransport",
    "Pacing",
    "Paused",
    "Receipt",
    "Steps",
    "Tell",
    "Told",
    "Tracker",
    "Transport",
    "TransportError",
    "Unanswered",
    "Worker",
    "bounded",
    "carry_out",
    "diagnose",
    "load_httpx",
    "pacer_of",
    "search",
]
