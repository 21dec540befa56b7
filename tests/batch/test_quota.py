"""A job on an account whose limits change: no row fails, and what is allowed is used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nudge_client import NudgeClient
from nudge_client.many import Many, Work
from nudge_providers.standins import PROMPT_END, Latency, VllmStandIn, toy_pair
from nudge_providers.standins.quota import Phase, Quota
from tests.virtual import run

PHASES = (Phase(60, 50), Phase(30, 500), Phase(20, 0), Phase(30, 500))
ANSWERS = 2000


@pytest.mark.parametrize(("headers", "plan"), [(True, "chunked"), (True, "streaming"), (False, "chunked")])
def test_what_is_allowed_is_used_and_no_row_fails(headers: bool, plan: str, tmp_path: Path) -> None:
    template = tmp_path / "toy.jinja"
    template.write_text("{{ messages[-1].content }}" + PROMPT_END)
    quota = Quota(PHASES, headers=headers)
    answered, failed = run(whole_job(quota, plan, template))
    begin, shares = 0.0, []
    for phase in PHASES:
        end = begin + phase.seconds
        if phase.per_minute:
            allowed = phase.seconds * phase.per_minute / 60
            shares.append(sum(begin <= time < end for time in quota.allowed) / allowed)
        begin = end
    print(f"\nused {[round(share, 2) for share in shares]}, refused {len(quota.refused)}, answered {answered}")
    assert failed == 0
    assert answered > 50
    overall = sum(share * allowed for share, allowed in zip(shares, (50, 250, 250), strict=True)) / 550
    assert overall >= (0.85 if headers else 0.65)  # without a word from the server, the limit has to be felt for
    if headers:
        assert min(shares) >= 0.85


async def whole_job(quota: Quota, plan: str, template: Path) -> tuple[int, int]:
    """Answers and failures until the last phase is over, and a little longer."""
    models = toy_pair(uncertainty=0.3, agreement=0.6, length=60)
    base, nudger = (VllmStandIn(model, latency=Latency(first=0.05, token=0.001)) for model in models)
    base.fault = quota
    answered = failed = 0

    def works() -> Iterator[Work]:
        for row in range(ANSWERS):
            yield Work(row, f"row {row}", {"max_tokens": 16})

    for server in (base, nudger):
        await server.start()
    client = NudgeClient(
        f"vllm:toy@{base.url}",
        f"vllm:toy@{nudger.url}",
        form="plain", answer_start=PROMPT_END, plan=plan,
        chat_template=str(template),
    )  # fmt: skip
    async with client:
        many = Many(client, works())
        async for outcome in many.outcomes():
            answered += outcome.answer is not None
            failed += outcome.error is not None
            if quota.allowed[-1] > sum(phase.seconds for phase in PHASES):
                break
    for server in (base, nudger):
        await server.stop()
    return answered, failed
