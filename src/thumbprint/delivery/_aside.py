"""Work that blocks, for coroutines: in threads of thumbprint's own, for those of the application may all be busy."""

from __future__ import annotations

import asyncio
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MOST: Final = 8  # threads; what comes while all are busy waits for one


async def aside(work: Callable[[], None]) -> None:
    """Do the work in another thread, while the event loop goes on."""
    await asyncio.get_running_loop().run_in_executor(_threads(), work)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MOST, thread_name_prefix="thumbprint-await")


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a child process has none of the threads
