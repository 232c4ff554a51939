"""The make-believe model behind both gateways: OpenAI's paths, and the least of Anthropic's."""

from thumbprint.emulator._model.model import Model, ModelCall

__all__ = ["Model", "ModelCall"]
