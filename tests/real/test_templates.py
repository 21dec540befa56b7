"""Named templates beside the real thing: the model's own, and llama.cpp's built-in ones for the families."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nudge_client.local.models import model_file
from nudge_client.prompts import render
from nudge_providers import Message
from nudge_providers.llamacpp import LlamaCppProvider

pytestmark = pytest.mark.real

CONVERSATIONS = [
    [Message("user", "Hi")],
    [Message("system", "Be kind."), Message("user", "Hi")],
    [Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello!"), Message("user", "More")],
]

# Ours, llama.cpp's name for it, and what llama.cpp puts where ours has the family's own end of turn.
BUILT_IN = [
    ("chatml", "chatml", {}),
    ("gemma", "gemma", {}),
    ("llama3", "llama3", {}),
    ("mistral", "mistral-v3", {}),
    ("zephyr", "zephyr", {"<|endoftext|>": "</s>"}),
    # It leaves out the spaces and the BOS between turns of Meta's own format.
    ("llama2", "llama2-sys", {"]Hello!</s>[INST]": "] Hello! </s><s>[INST]"}),
]

SERVE = """
import json, sys, urllib.request
import xllamacpp
path, names, conversations = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
prompts = {}
for name in names:
    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port, params.n_ctx = path, ["127.0.0.1"], 0, 256
    params.warmup, params.fit_params, params.use_jinja, params.chat_template = False, False, False, name
    server = xllamacpp.Server(params)
    for messages in conversations:
        body = json.dumps({"messages": messages}).encode()
        request = urllib.request.Request(server.listening_address + "/apply-template", body)
        prompts.setdefault(name, []).append(json.load(urllib.request.urlopen(request))["prompt"])
    del server
print("RESULT" + json.dumps(prompts), flush=True)
"""


async def test_smollm_is_the_models_own(real_pair: dict[str, str]) -> None:
    provider = LlamaCppProvider(url=real_pair["smollm2-135m-instruct"])
    for messages in CONVERSATIONS:
        assert render("smollm", messages) == await provider.render_chat(messages)
    await provider.aclose()


@pytest.fixture(scope="module")
def built_in() -> dict[str, list[str]]:
    conversations = [[{"role": m.role, "content": m.content} for m in messages] for messages in CONVERSATIONS]
    names = [name for _, name, _ in BUILT_IN]
    arguments = [str(model_file("smollm2-135m-instruct")), json.dumps(names), json.dumps(conversations)]
    done = subprocess.run(
        [sys.executable, "-c", SERVE, *arguments], capture_output=True, text=True, timeout=120, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    prompts: dict[str, list[str]] = json.loads(line.removeprefix("RESULT"))
    return prompts


@pytest.mark.parametrize(("ours", "theirs", "changes"), BUILT_IN)
def test_families_beside_llama_cpp(
    built_in: dict[str, list[str]], ours: str, theirs: str, changes: dict[str, str]
) -> None:
    for messages, prompt in zip(CONVERSATIONS, built_in[theirs], strict=True):
        for one, other in changes.items():
            prompt = prompt.replace(one, other)
        assert render(ours, messages) == prompt
