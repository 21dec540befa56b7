"""The stand-ins beside the real servers: the same requests, and replies of the same shape, field by field.

Values differ, of course. Compared are status and media type, the keys of every object, types and nulls, the lengths of
lists in proportion to each other, and the sequence of a stream's events.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import aiohttp
import pytest

from nudge_providers.sse import SseDecoder
from nudge_providers.standins import PROMPT_END, StandIn, ToyServer, VllmStandIn

VLLM_URLS = os.environ.get("NUDGE_TEST_VLLM", "").split()
SERVERS = [
    pytest.param("llamacpp", marks=pytest.mark.real),
    pytest.param(
        "vllm",
        marks=[
            pytest.mark.vllm,
            pytest.mark.skipif(not VLLM_URLS, reason="THE REAL vLLM WAS NOT TESTED: run `make test-vllm`"),
        ],
    ),
]
CUT = "\ufffd"
CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
# What a model goes on with: for the real one, and for the toy.
PROMPTS = {
    "goes on": ("One two three four five six", f"x{PROMPT_END} on on with it"),
    "ends": (CHAT.format("Say yes."), f"x{PROMPT_END}ends"),
    "emoji": (CHAT.format("Say only the word hi and an emoji: 🧑‍🚀"), f"x{PROMPT_END}emoji"),
    "too long": ("a b c " * 3000, "a b c " * 3000),
}
# Fields whose values are part of the contract.
SAID = {"object", "finish_reason", "code", "type", "owned_by", "status"}
# (server, path): keys of the real one that no stand-in has, and why.
LEFT_OUT: dict[tuple[str, str], tuple[set[str], str]] = {
    ("llamacpp", "/props"): (
        {
            *("params", "model_ftype", "modalities", "media_marker", "chat_template_caps", "is_sleeping"),
            *("endpoint_slots", "endpoint_props", "endpoint_metrics", "ui", "ui_settings", "cors_proxy_enabled"),
        },
        "defaults of its sampler and switches of its web page: every request names its own, and no page is asked for",
    ),
    ("llamacpp", "/v1/models"): (
        {
            *("models", "tags", "architecture"),
            *("vocab_type", "n_vocab", "n_ctx_train", "n_embd", "n_params", "size", "ftype"),
        },
        "a second listing for another program's clients, and the dimensions of the weights, of which a toy has none",
    ),
    ("vllm", "/v1/models"): ({"permission"}, "a list of constants that newer OpenAI APIs have dropped"),
}


@dataclass(frozen=True)
class Case:
    """One request. text: a key of PROMPTS. limits: tokens, for the real model and for the toy."""

    name: str
    text: str = ""
    limits: tuple[int, int] = (4, 4)
    fields: Mapping[str, Any] = field(default_factory=dict)
    path: str = "/v1/completions"
    body: Mapping[str, Any] | None = None

    def request(self, real: bool, model: str) -> dict[str, Any] | None:
        if not self.text:
            return None if self.body is None else {"model": model, **self.body}
        prompt, limit = PROMPTS[self.text][not real], self.limits[not real]
        body = {"model": model, "prompt": prompt, "max_tokens": limit, "temperature": 0, "logprobs": 1}
        return {**body, **self.fields}


USAGE = {"stream_options": {"include_usage": True}}
WRITTEN = [
    Case("greedy", "goes on"),
    Case("greedy, five a position", "goes on", fields={"logprobs": 5}),
    Case("the model ends", "ends", (90, 90)),
    Case("limit 1", "goes on", (1, 1)),
    # The characters that the real model begins with are of three and two tokens, the toy's of four.
    Case("cut inside the first character", "emoji", (1, 1)),
    Case("cut inside a later character", "emoji", (4, 5)),
    Case("whole characters", "emoji", (5, 8)),
]
OTHERS = [
    Case("prompt too long", "too long"),
    Case("unknown model", "goes on", fields={"model": "nope"}),
    Case("echo", "goes on", fields={"echo": True}),
    Case("more logprobs than vLLM lists", "goes on", (1, 1), fields={"logprobs": 40}),
    Case("unknown path", path="/nowhere"),
    Case("unknown path posted to", path="/nowhere", body={}),
    Case("models", path="/v1/models"),
    Case("health", path="/health"),
]
OF_ONE = {
    "llamacpp": [
        Case("properties", path="/props"),
        Case("template", path="/apply-template", body={"messages": [{"role": "user", "content": "Hi"}]}),
        Case("tokens", path="/tokenize", body={"content": "Hi", "add_special": True}),
        Case("streamed, with timings", "goes on", fields={"stream": True, "timings_per_token": True}),
    ],
    "vllm": [
        Case("version", path="/version"),
        Case(
            "template",
            path="/tokenize",
            body={"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": True},
        ),
        Case("tokens", path="/tokenize", body={"prompt": "Hi", "add_special_tokens": True}),
        Case("spelled tokens", path="/detokenize", body={"tokens": [44, 45]}),
        Case("no prompt", "goes on", fields={"prompt": ""}),
        Case("streamed, no usage", "goes on", fields={"stream": True}),
        Case(
            "streamed, usage always",
            "ends",
            (90, 90),
            {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        ),
    ],
}


def streamed(case: Case) -> Case:
    return Case(f"{case.name}, streamed", case.text, case.limits, {**case.fields, "stream": True, **USAGE})


def cases(server: str) -> list[Case]:
    return [*WRITTEN, *map(streamed, WRITTEN), *OTHERS, streamed(OTHERS[0]), *OF_ONE[server]]


def model(text: str) -> tuple[str, float] | None:
    if text.startswith("ends"):
        return (" yes", 0.9) if len(text) < 10 else None
    return ("🎉", 0.8) if text.startswith("emoji") else (" on", 0.6)


async def fetched(session: aiohttp.ClientSession, url: str, case: Case, body: Any) -> dict[str, Any]:
    """What came: status, media type, and the JSON, or the JSON of each event."""
    async with session.request("POST" if body is not None else "GET", url + case.path, json=body) as response:
        raw = await response.read()
    found = {"status": response.status, "type": response.headers.get("content-type")}
    found["chunked"] = response.headers.get("transfer-encoding") == "chunked"
    if (found["type"] or "").startswith("text/event-stream"):
        events = SseDecoder().decode(raw)
        return found | {"events": [each if each == "[DONE]" else json.loads(each) for each in events]}
    return found | {"json": json.loads(raw) if raw else None}


def shape(value: Any, key: str, left_out: set[str]) -> Any:
    """A value's form: keys, types, nulls. Items of one form count once; keys that are tokens or ids are `*`."""
    if isinstance(value, list):
        return distinct(shape(item, key, left_out) for item in value)
    if isinstance(value, dict):
        if key == "prompt_logprobs" or (key == "top_logprobs" and "logprob" not in value):
            return {"*": distinct(shape(item, "", left_out) for item in value.values())}
        return {name: shape(item, name, left_out) for name, item in sorted(value.items()) if name not in left_out}
    return value if key in SAID else type(value).__name__


def distinct(shapes: Any) -> list[Any]:
    return [json.loads(each) for each in sorted({json.dumps(each, sort_keys=True) for each in shapes})]


def sequence(shapes: list[Any]) -> list[Any]:
    """Events of one form in a row count once."""
    return [each for index, each in enumerate(shapes) if not index or each != shapes[index - 1]]


def proportions(data: Any) -> dict[str, Any]:
    """How the parts of a completion stand to each other; empty for anything else."""
    if not isinstance(data, dict) or not data.get("choices"):
        return {}
    choice, usage = data["choices"][0], data.get("usage")
    found: dict[str, Any] = {}
    if usage:
        found["sum"] = usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    logprobs = choice["logprobs"]
    if logprobs is None:
        return found | {"shown": choice["text"].strip(CUT) == "", "cut": choice["text"].endswith(CUT)}
    if "content" in logprobs:
        return found | of_content(choice["text"], logprobs["content"], usage)
    return found | of_lists(choice, logprobs, usage)


def of_content(text: str, content: list[Any], usage: Any) -> dict[str, Any]:
    return {
        "spelled": "".join(entry["token"] for entry in content) == text.rstrip(CUT),
        "cut": text.endswith(CUT),
        "an empty end": content[-1]["token"] == "",
        "bytes": all(bytes(entry["bytes"]).decode() == entry["token"] for entry in content),
        "listed": sorted({len(entry["top_logprobs"]) for entry in content}),
        "own is the first": all(entry["top_logprobs"][0]["logprob"] == entry["logprob"] for entry in content),
        "parts of a character": any(entry["top_logprobs"][0]["token"] == CUT for entry in content),
        "uncounted": usage and usage["completion_tokens"] == len(content),
    }


def of_lists(choice: dict[str, Any], logprobs: dict[str, Any], usage: Any) -> dict[str, Any]:
    tokens, own, tops = (logprobs[name] for name in ("tokens", "token_logprobs", "top_logprobs"))
    ended = choice["finish_reason"] == "stop"
    offsets = list(accumulate((len(token) for token in tokens[:-1]), initial=logprobs["text_offset"][0]))
    return {
        "lengths": len({len(each) for each in logprobs.values()}),
        "spelled": "".join(tokens[:-1] if ended else tokens) == choice["text"],
        "offsets": offsets == logprobs["text_offset"],
        "an empty end": tokens[-1] == "",
        "listed": sorted({len(top) for top in tops if top}),
        "own is listed": all(top[token] == mine for token, mine, top in zip(tokens, own, tops, strict=True) if top),
        "counted": usage and usage["completion_tokens"] == len(tokens),
        "given": len(choice.get("prompt_logprobs") or ()) < len(tokens),
    }


def summary(found: dict[str, Any], left_out: set[str]) -> dict[str, Any]:
    """All that is compared."""
    if "events" not in found:
        return found | {"json": shape(found["json"], "", left_out), "proportions": proportions(found["json"])}
    events = found["events"]
    return found | {
        "events": sequence([shape(event, "", left_out) for event in events]),
        "proportions": sequence([proportions(event) for event in events]),
        "ids": len({event["id"] for event in events if isinstance(event, dict)}),
    }


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    # llama.cpp closes its connection after a stream.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as made:
        yield made


def real(server: str, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Url and model of the real one."""
    if server == "vllm":
        return VLLM_URLS[1], "nudger"
    return request.getfixturevalue("real_pair")["smollm2-135m-instruct"], "any"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("server", SERVERS)
async def test_the_stand_in_sends_what_the_real_one_sends(
    server: str, request: pytest.FixtureRequest, session: aiohttp.ClientSession
) -> None:
    url, name = real(server, request)
    kind: type[ToyServer] = {"llamacpp": StandIn, "vllm": VllmStandIn}[server]
    standin = await kind(model, by_bytes=True).start()
    differ: dict[str, Any] = {}
    for case in cases(server):
        left_out, _ = LEFT_OUT.get((server, case.path), (set(), ""))
        theirs = await fetched(session, url, case, case.request(True, name))
        ours = await fetched(session, standin.url, case, case.request(False, standin.name))
        assert left_out <= keys_of(theirs), f"{case.name}: left out, though the real one sends it no more"
        one, two = summary(theirs, left_out), summary(ours, left_out)
        if one != two:
            differ[case.name] = {key: (one.get(key), two.get(key)) for key in one | two if one.get(key) != two.get(key)}
    await standin.stop()
    said = "\n".join(
        f"{name}: {key}\n  real     {a}\n  stand-in {b}"
        for name, parts in differ.items()
        for key, (a, b) in parts.items()
    )
    assert not differ, f"{len(differ)} of {len(cases(server))} cases\n{said}"


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"a": 1}, {}),
        ({"a": 1}, {"a": None}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": [1]}, {"a": []}),
        ({"a": [1, None]}, {"a": [1]}),
        ({"finish_reason": "stop"}, {"finish_reason": "length"}),
        ({"top_logprobs": [{"x": 1.0}]}, {"top_logprobs": [None]}),
        ([{"a": 1}, {"b": 1}], [{"a": 1}]),
    ],
    ids=str,
)
def test_a_difference_shows(one: Any, two: Any) -> None:
    assert shape(one, "", set()) != shape(two, "", set())
    assert shape(one, "", set()) == shape(json.loads(json.dumps(one)), "", set())


def test_values_may_differ() -> None:
    assert shape({"top_logprobs": [{"x": -1.0}]}, "", set()) == shape({"top_logprobs": [{"y": -2.0}]}, "", set())
    assert shape({"text": "a", "n": [1, 2]}, "", set()) == shape({"text": "b", "n": [3]}, "", set())
    assert shape({"a": 1, "b": 2}, "", {"b"}) == shape({"a": 2}, "", set())
