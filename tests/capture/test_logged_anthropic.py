"""As test_logged_calls.py, through the SDK of Anthropic."""

from __future__ import annotations

import anthropic_doors
import pytest
from logged import check_each, rows_of, through

import thumbprint

ANTHROPIC_DOORS = [
    anthropic_doors.message,
    anthropic_doors.streamed_message,
    anthropic_doors.stream_helper,
    anthropic_doors.raw_message,
    anthropic_doors.raw_streamed_message,
    anthropic_doors.streaming_response,
]


@pytest.mark.parametrize("make_client", anthropic_doors.SYNC_AND_ASYNC)
@pytest.mark.parametrize("door", ANTHROPIC_DOORS)
def test_whatever_a_door_of_anthropic_gives_leads_to_the_row_of_its_call(logging, make_client, door):
    emulator = logging()
    results = through(door, thumbprint.wrap(make_client(anthropic_doors.url_of(emulator))))
    check_each(emulator, results)


def test_a_count_of_tokens_is_not_logged(logging):
    emulator = logging()
    through(anthropic_doors.token_count, thumbprint.wrap(anthropic_doors.client(anthropic_doors.url_of(emulator))))
    assert rows_of(emulator) == []
