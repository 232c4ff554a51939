"""The page for people: what both services hold, newest first."""

from thumbprint.emulator._page.page import answer

__all__ = ["answer"]
