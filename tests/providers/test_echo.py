"""Log-probabilities of a prompt. The reply is the real vLLM's (0.32), for "<bos>The capital of France is" and one token."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from nudge_providers import CapabilityError, MalformedReply
from nudge_providers.echo import scored

CHOICE: dict[str, Any] = {
    "text": "<bos>The capital of France is the",
    "logprobs": {
        "text_offset": [0, 5, 8, 16, 19, 26, 29],
        "token_logprobs": [None, -2.893, -9.686, -0.88, -5.073, -1.324, -1.681],
        "tokens": ["<bos>", "The", " capital", " of", " France", " is", " the"],
        "top_logprobs": [
            None,
            {"The": -2.893, "<h1>": -2.455},
            {" capital": -9.686, " ": -1.186},
            {" of": -0.88},
            {" France": -5.073, " the": -0.823},
            {" is": -1.324, ",": -1.199},
            {" the": -1.681},
        ],
    },
}


def test_scored_tokens_and_what_the_model_would_have_said() -> None:
    found = scored(CHOICE, "<bos>The capital of", " France is", "toy")
    assert [(token.text, token.logprob, token.next_token.text) for token in found] == [
        (" France", -5.073, " the"),
        (" is", -1.324, ","),
    ]
    assert found[0].next_token.top_logprob == -0.823


def test_a_bos_that_the_server_put_in_front_is_no_part_of_the_prompt() -> None:
    assert [token.text for token in scored(CHOICE, "The capital of", " France", "toy")] == [" France"]


def test_what_was_generated_is_not_taken_for_the_continuation() -> None:
    choice = copy.deepcopy(CHOICE)
    choice["logprobs"]["tokens"][-1] = " is"
    assert [token.logprob for token in scored(choice, "The capital of France", " is", "toy")] == [-1.324]


def test_a_continuation_that_begins_inside_a_token() -> None:
    assert [token.text for token in scored(CHOICE, "The capital of Fra", "nce is", "toy")] == [" France", " is"]


@pytest.mark.parametrize("name", ["tokens", "token_logprobs", "top_logprobs"])
@pytest.mark.parametrize("value", [None, [], "x"])
def test_lists_that_do_not_add_up(name: str, value: Any) -> None:
    choice = copy.deepcopy(CHOICE)
    choice["logprobs"][name] = value
    with pytest.raises((MalformedReply, CapabilityError)):
        scored(choice, "The capital of", " France", "toy")


def test_trap_1_a_reply_without_prompt_tokens() -> None:
    lists = {name: values[-1:] for name, values in CHOICE["logprobs"].items()}
    with pytest.raises(CapabilityError, match="ignores `echo`"):
        scored({"text": " the", "logprobs": lists}, "The capital of", " France", "toy")
    with pytest.raises(CapabilityError, match="no log-probabilities of a prompt"):
        scored({"text": " the", "logprobs": None}, "The capital of", " France", "toy")
    with pytest.raises(MalformedReply, match="do not spell"):
        scored(CHOICE, "The capital of", " Spain", "toy")
