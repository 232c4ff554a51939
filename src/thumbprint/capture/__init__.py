"""Hooks on the clients that make LLM calls. The only importer of wrapt."""

from ._instrumentation import Instrumentation, when_imported
from ._recorder import Recorder
from ._wrap import unwrap, wrap

__all__ = ["Instrumentation", "Recorder", "unwrap", "when_imported", "wrap"]
