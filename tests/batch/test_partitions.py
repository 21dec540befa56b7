"""Jobs in parts, without whoever distributes them: what a worker does, and what the head of the job does around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from nudge_client import UsageError
from nudge_client.batch.claim import read_document
from nudge_client.batch.parts.folder import PartsJob, part_of, stop_file
from nudge_client.batch.parts.partition import MOST_TRIES, Plan, shared, work_on
from nudge_client.batch.parts.standing import snapshots, summed
from nudge_client.batch.results.export import export
from nudge_client.batch.results.report import summarize
from nudge_client.cli.batch_ray import plan_of
from nudge_client.cli.batch_run import Wishes, begun
from nudge_client.config import check_settings
from nudge_client.settings import Settings
from nudge_providers.standins import PROMPT_END
from tests.batch.jobs import Servers, answers, done, records, servers, write_rows
from tests.planted import KEY

ROWS, PARTITIONS = 20, 3


@pytest.fixture(scope="module")
def pair() -> Iterator[Servers]:
    with servers(ROWS) as both:
        yield both


@pytest.fixture
def settings(pair: Servers) -> Settings:
    endpoints = {"base": f"llamacpp@{pair.base.url}", "nudger": f"llamacpp@{pair.nudger.url}"}
    return check_settings({**endpoints, "form": "plain", "answer_start": PROMPT_END})


@pytest.fixture
def wishes(tmp_path: Path) -> Wishes:
    return Wishes(source=str(write_rows(tmp_path / "in.jsonl", ROWS)), output=tmp_path / "out", workers=2)


def planned(wishes: Wishes, settings: Settings) -> Plan:
    """The plan of a job that was begun; nobody holds it then."""
    job = PartsJob(wishes.output, PARTITIONS)
    try:
        plan = plan_of(job, begun(job, wishes, settings), wishes, settings)
        return Plan(**json.loads(json.dumps(asdict(plan))))
    finally:
        job.close()


def whole(wishes: Wishes, to: Path) -> Path:
    export(wishes.output, to, force=True)
    return to


def test_partitions_together_are_the_job(pair: Servers, settings: Settings, wishes: Wishes, tmp_path: Path) -> None:
    plan = planned(wishes, settings)
    results = [work_on(plan, index) for index in range(PARTITIONS)]
    assert [(result.done, result.failed, result.problem) for result in results] == [(7, 0, ""), (7, 0, ""), (6, 0, "")]
    assert [record.row for record in records(part_of(wishes.output, 1))] == [2, 5, 8, 11, 14, 17, 20]
    done(wishes.source, *pair.flags, "-o", tmp_path / "calm.jsonl")
    # In the order of the input, out of all parts; and the readers read the folder as they read a file.
    exported = whole(wishes, tmp_path / "all.jsonl")
    assert [json.loads(line)["row"] for line in exported.read_text().splitlines()] == list(range(1, ROWS + 1))
    assert answers(exported) == answers(tmp_path / "calm.jsonl")
    assert summarize(wishes.output)["answered"] == ROWS
    pair.forget()
    assert [work_on(plan, index).done for index in range(PARTITIONS)] == [7, 7, 6]
    assert pair.requests == 0


def test_the_sum_of_the_parts(settings: Settings, wishes: Wishes) -> None:
    plan = planned(wishes, settings)
    work_on(plan, 0)
    work_on(plan, 2)
    job = PartsJob(wishes.output, 99)
    begun(job, wishes, settings)
    job.close()
    assert job.partitions == PARTITIONS
    assert [count.done for count in job.counted] == [7, 0, 6]
    parts = snapshots(wishes.output, PARTITIONS)
    first = summed(parts, job.counted, plan.run, ROWS, 0.0)
    assert first["rows"] | {"under_way": 0} == first["rows"]
    assert (first["rows"]["done"], first["rows"]["left"]) == (13, 7)
    assert parts[0]
    assert parts[2]
    assert first["tokens"]["answered"] == sum(part["tokens"]["answered"] for part in (parts[0], parts[2]))
    # Of another run what was counted goes before what it told, which may be older than its end.
    parts[0]["rows"]["done"] = 1
    assert summed(parts, job.counted, plan.run, ROWS, 0.0)["rows"]["done"] == 7
    assert summed(parts, job.counted, "another", ROWS, 0.0)["rows"]["done"] == 13


def test_what_workers_are_told_holds_no_key(settings: Settings, wishes: Wishes, monkeypatch: Any) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    accounts = {"mine": {"kind": "llamacpp", "key_env": "MY_KEY"}}
    told = planned(wishes, settings.model_copy(update={"providers": check_settings({"providers": accounts}).providers}))
    assert KEY not in json.dumps(asdict(told))


def test_relative_paths_are_told_whole(settings: Settings, wishes: Wishes, here: Path) -> None:
    accounts = {"one": {"key_file": "keys/one"}, "home": {"key_file": "~/two"}}
    (here / "mine.jinja").write_text("{{ messages }}")
    values = settings.model_dump(exclude_unset=True) | {"providers": accounts, "chat_template": "mine.jinja"}
    told = planned(wishes, check_settings(values)).settings
    assert told["providers"]["one"]["key_file"] == str(here / "keys" / "one")
    assert told["providers"]["home"]["key_file"] == "~/two"
    assert told["chat_template"] == str(here / "mine.jinja")


def test_rates_are_shared() -> None:
    accounts = {"one": {"requests_per_minute": 60, "tokens_per_minute": 1000}, "two": {}}
    own = shared(check_settings({"providers": accounts}), 4).providers
    assert (own["one"].requests_per_minute, own["one"].tokens_per_minute) == (15, 250)
    assert own["two"].requests_per_minute is None


def test_caps_are_shared(settings: Settings, wishes: Wishes, tmp_path: Path) -> None:
    cap = 6000
    plan = replace(planned(wishes, settings), max_tokens_total=cap)
    results = [work_on(plan, index) for index in range(PARTITIONS)]
    assert {result.kind for result in results} == {"budget"}
    assert all("max_tokens_total" in result.problem for result in results)
    spent = [part["tokens"]["at_most"] for part in snapshots(wishes.output, PARTITIONS) if part]
    assert len(spent) == PARTITIONS
    assert all(0 < tokens <= cap // PARTITIONS for tokens in spent)


def test_a_job_that_is_to_stop(pair: Servers, settings: Settings, wishes: Wishes) -> None:
    plan = planned(wishes, settings)
    stop_file(wishes.output).write_text("enough")
    pair.forget()
    assert work_on(plan, 0).problem == "stopped"
    assert pair.requests == 0
    # Whoever is at work looks for it every second, and finishes what was begun.
    stop_file(wishes.output).unlink()

    async def slow(_request: Any, _body: Any) -> None:
        stop_file(wishes.output).write_text("enough")
        await asyncio.sleep(0.15)

    pair.base.fault = slow
    try:
        result = work_on(replace(plan, concurrency=1), 0)
    finally:
        pair.base.fault = None
    assert (result.problem, result.kind) == ("enough", "")
    assert 0 < result.done < 7
    # The same command takes the word back.
    assert work_on(planned(wishes, settings), 0).done == 7


def test_an_endpoint_that_refuses_ends_the_partition(pair: Servers, settings: Settings, wishes: Wishes) -> None:
    plan = planned(wishes, settings)

    async def stranger(_request: Any, _body: Any) -> web.Response:
        return web.json_response({"error": {"message": "who are you"}}, status=401)

    pair.base.fault = stranger
    try:
        result = work_on(plan, 0)
    finally:
        pair.base.fault = None
    assert result.kind == "endpoint"
    assert "401" in result.problem
    status = read_document(part_of(wishes.output, 0).with_name("part-00000.jsonl.job") / "status.json")
    assert status
    assert status["state"] == "stopped"


def test_a_partition_that_kills_its_workers(settings: Settings, wishes: Wishes) -> None:
    plan = planned(wishes, settings)
    tries = part_of(wishes.output, 0).with_name("part-00000.jsonl.job") / "tries.json"
    tries.write_text(json.dumps({"run": plan.run, "tries": MOST_TRIES}))
    result = work_on(plan, 0)
    assert result.kind == "usage"
    assert "killed" in result.problem
    assert work_on(replace(plan, run="the next"), 0).done == 7


def test_what_was_changed_is_told(settings: Settings, wishes: Wishes) -> None:
    work_on(planned(wishes, settings), 0)
    other = settings.model_copy(update={"threshold": 0.5})
    with pytest.raises(UsageError, match=r"settings\.threshold: 0\.3 → 0\.5"):
        planned(wishes, other)
    plan = planned(replace(wishes, allow_changed=True), other)
    assert work_on(plan, 1).done == 7
    plan = planned(replace(wishes, restart=True), settings)
    assert (wishes.output.with_name("out.1") / "part-00001.jsonl").stat().st_size
    assert work_on(plan, 1).done == 7


def test_failures_are_tried_again(settings: Settings, wishes: Wishes) -> None:
    source = Path(wishes.source)
    lines = source.read_text().splitlines()
    source.write_text("\n".join(["nothing", *lines[1:]]))
    result = work_on(planned(wishes, settings), 0)
    assert (result.done, result.failed) == (7, 1)
    planned(replace(wishes, retry_failed=True), settings)
    assert [record.row for record in records(part_of(wishes.output, 0))] == [4, 7, 10, 13, 16, 19]


def test_one_head_at_a_time(settings: Settings, wishes: Wishes) -> None:
    job = PartsJob(wishes.output, PARTITIONS)
    with pytest.raises(UsageError, match="at work on this job"):
        PartsJob(wishes.output, PARTITIONS)
    job.close()


def test_outputs_that_are_of_no_such_job(settings: Settings, wishes: Wishes, tmp_path: Path) -> None:
    wishes.output.write_text("my diary")
    with pytest.raises(UsageError, match="not a folder"):
        planned(wishes, settings)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary").write_text("dear")
    with pytest.raises(UsageError, match="of no job"):
        planned(replace(wishes, output=mine), settings)
    with pytest.raises(UsageError, match="no parts"):
        export(mine, tmp_path / "x.csv")
    assert [path.name for path in mine.iterdir()] == ["diary"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--engine", "ray", "--probe", 3, "--estimate"], "--probe"),
        (["--engine", "ray", "--base", "local:gemma-3-270m"], "embedded pair"),
        (["--workers", 2], "--engine ray"),
    ],
)
def test_flags_that_do_not_go_together(pair: Servers, wishes: Wishes, flags: list[Any], said: str) -> None:
    assert said in done(wishes.source, *pair.flags, "-o", wishes.output, *flags, code=2)
