"""Local stand-ins for Cloudflare AI Gateway and Braintrust, for tests and local work.

>>> from thumbprint.emulator import Emulator
>>> with Emulator() as emulator:
...     emulator.environ()["CLOUDFLARE_GATEWAY_ID"]
'emulator'
"""

from thumbprint.emulator._emulator import Emulator
from thumbprint.emulator._faults import Fault
from thumbprint.emulator._wire import RecordedRequest

__all__ = ["Emulator", "Fault", "RecordedRequest"]
