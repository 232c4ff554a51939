"""What a request calls is told from its method and path."""

from __future__ import annotations

import pytest

from thumbprint import LogRef
from thumbprint.capture._operation import operation_of


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("POST", "/v1/chat/completions", "chat"),
        ("POST", "/v1/ACCOUNT/GATEWAY/azure-openai/resource/deployment/chat/completions", "chat"),
        ("POST", "/v1/responses", "chat"),
        ("POST", "/v1/responses/compact", "chat"),
        ("POST", "/v1/messages", "chat"),
        ("POST", "/v1/completions", "text_completion"),
        ("POST", "/v1/embeddings", "embeddings"),
        ("POST", "/v1/moderations", "moderation"),
        ("POST", "/v1/images/generations", "image_generation"),
        ("POST", "/v1/images/edits", "image_generation"),
        ("POST", "/v1/videos", "video_generation"),
        ("POST", "/v1/videos/video_1/remix", "video_generation"),
        ("POST", "/v1/audio/speech", "speech"),
        ("POST", "/v1/audio/transcriptions", "transcription"),
        ("POST", "/v1/audio/translations", "translation"),
        ("POST", "/v1beta/models/gemini-3:generateContent", "generate_content"),
        ("POST", "/v1beta/models/gemini-3:streamGenerateContent", "generate_content"),
        ("POST", "/v1beta/models/embedding-1:embedContent", "embeddings"),
        ("POST", "/v1beta/models/gemini-3:countTokens", "count_tokens"),
        ("POST", "/v1/messages/count_tokens", "count_tokens"),
        ("POST", "/v1/responses/input_tokens", "count_tokens"),
        ("POST", "/v1/responses/resp_1/cancel", "cancel"),
        ("POST", "/v1/threads/thread_1/runs", "invoke_agent"),
        ("POST", "/v1/threads/runs", "invoke_agent"),
        ("POST", "/v1/threads/thread_1/messages", "upload"),
        ("POST", "/v1/threads/thread_1/runs/run_1/submit_tool_outputs", "invoke_agent"),
        ("POST", "/v1/chat/completions/chatcmpl-1", "upload"),
        ("POST", "/v1/audio/voice_consents", "upload"),
        ("POST", "/v1/videos/edits", "video_generation"),
        ("POST", "/v1/files", "upload"),
        ("POST", "/v1/vector_stores/vs_1/files", "upload"),
        ("POST", "/v1/batches", "upload"),
        ("POST", "/client/v4/accounts/A/ai/run/@cf/meta/llama", "generate_content"),
        ("POST", "/v1/a/resource/of/the/future", "generate_content"),
        ("GET", "/v1/models", "list"),
        ("GET", "/v1/chat/completions", "list"),
        ("GET", "/v1/responses/resp_1", "retrieve"),
        ("GET", "/v1/chat/completions/chatcmpl-1", "retrieve"),
        ("GET", "/v1/responses/resp_1/input_items", "list"),
        ("GET", "/v1/videos/video_1", "retrieve"),
        ("DELETE", "/v1/responses/resp_1", "delete"),
    ],
)
def test_a_request_calls_one_operation(method, path, operation):
    assert operation_of(method, path) == operation


@pytest.mark.parametrize("operation", ["embeddings", "moderation", "list", "retrieve", "cancel", "delete", "upload"])
def test_some_operations_generate_nothing(operation):
    assert not LogRef(backend="b", id="1", operation=operation).generated


@pytest.mark.parametrize("operation", ["chat", "image_generation", "speech", "something_new", None])
def test_all_others_count_as_generating(operation):
    assert LogRef(backend="b", id="1", operation=operation).generated
