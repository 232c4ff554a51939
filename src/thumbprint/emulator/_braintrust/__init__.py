"""Braintrust: its gateway, the older proxy, and what of its APIs reaches their rows, or writes its SDKs' own."""

from thumbprint.emulator._braintrust.gateway import Gateway, Upstream
from thumbprint.emulator._braintrust.rest import RestApi
from thumbprint.emulator._braintrust.rows import RowBook
from thumbprint.emulator._braintrust.sdk import SdkApi

__all__ = ["Gateway", "RestApi", "RowBook", "SdkApi", "Upstream"]
