"""Hooks on the clients that make LLM calls. The only importer of wrapt."""

from ._recorder import Recorder
from ._sdk import Instrumentation, unwrap, when_imported, wrap

__all__ = ["Instrumentation", "Recorder", "unwrap", "when_imported", "wrap"]
