"""The bench itself: figures that add up, on toys and on stand-ins; the command as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nudge_client import NudgeClient, UsageError
from nudge_client.bench import overhead
from nudge_client.bench.methods import BASE, METHODS, checked_methods
from nudge_client.bench.runner import Bench, bound, setting, spread
from nudge_client.bench.simulated import PROFILES, Toys, profile_named, simulated_pair, told
from nudge_client.cli.main import main
from nudge_providers.standins import toy_pair
from tests.toys import ToyProvider


class Asked(ToyProvider):
    """Answers whatever it is asked, from the end of the prompt on."""

    async def render_chat(self, messages: object) -> str:
        return ">"


def client(**options: object) -> NudgeClient:
    base, nudger = toy_pair(seed=1, uncertainty=0.2, length=200)
    prompt = "Q\n"
    return NudgeClient(base=Asked(base, prompt), nudger=Asked(nudger), form="plain", max_tokens=40, **options)


async def test_every_method_on_every_prompt_in_every_repeat() -> None:
    names = ["base only", "nudger only", "chunked", "streaming", "auto", "ensemble"]
    async with client() as nudge:
        run = Bench(nudge, ["Q", "Q"], names, repeats=3)
        await run.run()
    assert {name: [len(repeat) for repeat in repeats] for name, repeats in run.samples.items()} == {
        name: [2, 2, 2] for name in names
    }
    figures = run.figures()
    assert figures[BASE]["ratio_to_base"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert figures[BASE]["nudge_ratio"]["median"] is None
    assert figures[BASE]["answer_tokens"]["median"] == 40
    assert figures["streaming"]["nudge_ratio"] == figures["chunked"]["nudge_ratio"]
    assert figures["chunked"]["discarded_ratio"]["median"] > 0
    assert figures["streaming"]["cost"]["median"] is None
    assert run.timelines().keys() == {"chunked", "streaming", "auto"}
    for one in run.samples["streaming"][0]:
        known = sum(request["used"] for request in one.requests)
        assert known == one.answer_tokens, "every token of the answer came from one of the requests"


async def test_money_at_given_prices() -> None:
    prices = {"base": {"prompt": 1.0, "cached": 0.5, "completion": 2.0}}
    async with client(prices=prices) as nudge:
        run = Bench(nudge, ["Q"], [BASE, "chunked"], repeats=1)
        await run.run()
        row = run.samples["chunked"][0][0].models["base"]
        expected = (row.prompt_tokens * 1.0 + row.completion_tokens * 2.0) / 1e6
        assert run.figures()["chunked"]["cost"]["median"] == pytest.approx(expected)
        assert setting(nudge.settings, 1, 1, None)["prices"] == prices


async def test_discarded_tokens_stay_below_the_bound_of_the_paper() -> None:
    async with client() as nudge:
        rows = await Bench(nudge, ["Q"], [BASE]).sweep()
    assert [row["chunk"] for row in rows] == [4, 8, 16, 32, 64]
    assert all(0 <= row["discarded_ratio"] <= row["bound"] + 0.05 for row in rows)


def test_small_sums() -> None:
    assert bound(16, 0.1) == pytest.approx(1.6 / 2.5)  # ALGORITHM: L·r / (1 − r + L·r)
    assert spread([3.0, None, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0}
    assert checked_methods(["auto"]) == ["base only", "auto"]
    with pytest.raises(UsageError, match="unknown method 'atuo'"):
        checked_methods(["atuo"])
    with pytest.raises(UsageError, match="known: home, datacenter, hosted-70b, far"):
        profile_named("mars")


def test_the_given_profiles_are_as_stated() -> None:
    assert told("hosted-70b", 0.3, Toys())["latencies"] == {
        "round_trip_ms": 40,
        "base_first_ms": 60,
        "base_token_ms": 20,
        "nudger_first_ms": 25,
        "nudger_token_ms": 5,
        "prompt_token_ms": 0.1,
    }
    far, hosted = PROFILES["far"], PROFILES["hosted-70b"]
    assert (far.base.round_trip, far.base.token) == (0.15, hosted.base.token)


async def test_a_simulated_pair_answers_alike_by_every_plan() -> None:
    prompts = ["Why?", "How?"]
    async with (
        simulated_pair("datacenter", prompts, length=150) as options,
        NudgeClient(max_tokens=30, **options) as nudge,
    ):
        found = {
            plan: [(await nudge.generate(prompt, plan=plan)).text for prompt in prompts]
            for plan in ("chunked", "streaming", "verified")
        }
    assert found["chunked"] == found["streaming"] == found["verified"]
    assert found["chunked"][0] != found["chunked"][1], "each prompt has an answer of its own"


def test_the_command(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("p.jsonl").write_text('{"prompt": "Why?"}\nHow?\n', "utf-8")
    arguments = ["bench", "--simulate", "datacenter", "--prompts", "p.jsonl", "--repeats", "2", "--max-tokens", "12"]
    assert main([*arguments, "--methods", "chunked,streaming", "--html", "page.html", "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert list(result["methods"]) == ["base only", "chunked", "streaming"]
    assert result["setting"]["simulated"]["profile"] == "datacenter"
    assert result["setting"]["prompts"] == 2
    assert set(result["methods"]["streaming"]["ratio_to_base"]) == {"median", "low", "high"}
    assert "Simulated" in Path("page.html").read_text("utf-8")
    assert main([*arguments, "--methods", "base only"]) == 0
    assert "SIMULATED" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--methods", "magic"], "unknown method 'magic'"),
        (["--prompts", "nowhere"], "prompts file nowhere: No such file"),
        (["--prompts", "empty"], "it holds no prompts"),
        (["--prompts", "odd"], "line 2: it starts like JSON"),
        (["--prompts", "less"], "line 1: it has no `prompt`"),
        (["--simulate", "mars"], "unknown profile 'mars'"),
        (["--agreement", "0.9"], "--simulate"),
        (["--html", "no/such/folder.html"], "No such file"),
        (["--methods", "proxy tuning", "--simulate", "datacenter"], "--small-base"),
    ],
)
def test_bad_input(here: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], problem: str) -> None:
    Path("empty").write_text("\n", "utf-8")
    Path("odd").write_text("Why?\n{nothing\n", "utf-8")
    Path("less").write_text('{"text": 1}\n', "utf-8")
    assert main(["bench", *arguments]) == 2
    assert problem in capfd.readouterr().err


def test_every_method_is_told_in_the_help() -> None:
    assert METHODS[0] == BASE


async def test_the_clients_own_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "CALLS", 3)
    found = await overhead.overhead(repeats=2, answers=5)
    spent = found["milliseconds"]
    assert list(spent) == [
        *("raw call", "call", "openai client's call"),
        *("raw stream", "stream", "openai client's stream"),
    ]
    assert all(0 < one["low"] <= one["median"] <= one["high"] for one in spent.values())
    assert found["crowd"]["answers"] == 5
    assert found["crowd"]["requests_per_second"] > 0
