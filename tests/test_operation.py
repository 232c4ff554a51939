"""What a request calls is told from its method and path."""

from __future__ import annotations

import pytest

from thumbprint import LogRef
from thumbprint._operation import operation_of, operation_of_model


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
        ("POST", "/v1/messages/batches", "upload"),
        ("GET", "/v1/messages/batches/msgbatch_1", "retrieve"),
        ("POST", "/v1/projects/p/locations/eu/publishers/anthropic/models/claude:rawPredict", "chat"),
        ("POST", "/v1/projects/p/locations/eu/publishers/anthropic/models/claude:streamRawPredict", "chat"),
        ("POST", "/v1/projects/p/locations/eu/publishers/google/models/text-embedding-5:predict", "embeddings"),
        ("POST", "/v1/projects/p/locations/eu/publishers/google/models/imagen-4:predict", "generate_content"),
        ("POST", "/model/eu.anthropic.claude/invoke", "chat"),
        ("POST", "/model/arn:aws:bedrock:eu:1:inference-profile/claude/invoke-with-response-stream", "chat"),
        ("POST", "/model/eu.anthropic.claude/converse-stream", "chat"),
        ("POST", "/model/amazon.titan-embed-text-v2/invoke", "embeddings"),
        ("POST", "/v2/embed", "embeddings"),
        ("POST", "/v1/rerank", "rerank"),
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


@pytest.mark.parametrize(
    ("model", "operation"),
    [
        ("@cf/baai/bge-m3", "embeddings"),
        ("@cf/google/embeddinggemma-300m", "embeddings"),
        ("openai/text-embedding-3-small", "embeddings"),
        ("@cf/baai/bge-reranker-base", "rerank"),
        ("@cf/meta/llama-guard-3-8b", "moderation"),
        ("@cf/meta/llama-3.1-8b-instruct", "chat"),
        ("openai/gpt-5", "chat"),
    ],
)
def test_a_model_is_of_one_operation(model, operation):
    assert operation_of_model(model, chats=True) == operation


def test_a_model_that_was_sent_no_messages_generates_something():
    assert operation_of_model("@cf/meta/llama-3.1-8b-instruct", chats=False) == "generate_content"
    assert operation_of_model("@cf/baai/bge-m3", chats=False) == "embeddings"


@pytest.mark.parametrize(
    "operation", ["embeddings", "rerank", "moderation", "list", "retrieve", "cancel", "delete", "upload"]
)
def test_some_operations_generate_nothing(operation):
    assert not LogRef(backend="b", id="1", operation=operation).generated


@pytest.mark.parametrize("operation", ["chat", "image_generation", "speech", "something_new", None])
def test_all_others_count_as_generating(operation):
    assert LogRef(backend="b", id="1", operation=operation).generated
