"""For Cloudflare Workers in Python: captures the calls of the `AI` binding, and delivers feedback by it."""

from ._ai import AI
from ._gateway import AIGateway
from ._worker import configure, settle, wrap

__all__ = ["AI", "AIGateway", "configure", "settle", "wrap"]
