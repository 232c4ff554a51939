"""Braintrust: its gateway, the older proxy, and the part of the REST API that reaches their rows."""

from thumbprint.emulator._braintrust.gateway import Gateway, Upstream
from thumbprint.emulator._braintrust.rest import RestApi
from thumbprint.emulator._braintrust.rows import RowBook

__all__ = ["Gateway", "RestApi", "RowBook", "Upstream"]
