"""Each framework's tests are collected where that framework is installed; `nox -s frameworks` installs them.

The suite as a whole leaves this folder out (`norecursedirs` in pyproject.toml). By hand, where some are installed:
`python -m pytest -W ignore tests/frameworks`, for what they warn of is their own business.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

pytest.register_assert_rewrite("frameworks.contract")

MODULES = {
    "test_instructor.py": "instructor",
    "test_langchain.py": "langchain_openai",
    "test_litellm.py": "litellm",
    "test_llama_index.py": "llama_index",
    "test_openai_agents.py": "agents",
    "test_pydantic_ai.py": "pydantic_ai",
}
collect_ignore = [file for file, module in MODULES.items() if find_spec(module) is None]

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or its import asks the network
