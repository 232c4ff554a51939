"""Cloudflare: the AI Gateway, its logs, and the part of the REST API that reaches both."""

from thumbprint.emulator._cloudflare.gateway import Gateway
from thumbprint.emulator._cloudflare.logs import LogBook, Place
from thumbprint.emulator._cloudflare.quota import Quota
from thumbprint.emulator._cloudflare.rest import RestApi

__all__ = ["Gateway", "LogBook", "Place", "Quota", "RestApi"]
