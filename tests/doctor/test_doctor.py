"""Each finding is right, and right for the stated reason: on the real pair, and on servers made to lack one thing."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from aiohttp import web

from nudge_client.doctor import NAMES, Report, examine
from nudge_providers.endpoint import parse_endpoint
from nudge_providers.registry import make_provider
from nudge_providers.standins import StandIn, TogetherStandIn, VllmStandIn
from tests.toys import hashed

TOY = hashed(1, [" a", " b", " c", " d"], 0.1, 0.4)


async def examined(standin: StandIn, form: str, change: Callable[[StandIn], None] = lambda standin: None) -> Report:
    await standin.start()
    change(standin)
    provider = make_provider(parse_endpoint(form.format(url=standin.url)), deadline=3)
    report = await examine(provider)
    await provider.aclose()
    await standin.stop()
    return report


def verdicts(report: Report) -> dict[str, str]:
    return {name: finding.verdict for name, finding in report.findings.items()}


async def test_every_question_is_asked() -> None:
    report = await examined(StandIn(TOY), "llamacpp@{url}")
    assert tuple(report.findings) == NAMES
    assert (report.usable, report.plan) == (True, "streaming")


async def test_without_logprobs() -> None:
    standin = StandIn(TOY)
    standin.logprobs = False
    report = await examined(standin, "llamacpp@{url}")
    assert report.findings["logprobs"].verdict == "unusable"
    assert "no log-probabilities" in report.findings["logprobs"].evidence
    assert (report.usable, report.plan) == (False, None)


async def test_one_that_ignores_echo() -> None:
    """It takes the field, and sends no prompt tokens back."""
    report = await examined(VllmStandIn(TOY, echoes=False), "vllm@{url}")
    found = report.findings["prompt_logprobs"]
    assert (found.verdict, found.value) == ("degraded", False)
    assert "ignores `echo`" in found.evidence
    assert report.usable


@pytest.mark.parametrize("processed", [True, False])
async def test_processed_logprobs(processed: bool) -> None:
    class Processed(StandIn):
        def reply(self, body: dict[str, Any]) -> dict[str, Any]:
            reply = super().reply(body)
            if processed and body["temperature"] > 0:
                for item in reply["choices"][0]["logprobs"]["content"]:
                    item["logprob"] = item["logprob"] / body["temperature"] - 0.3
                    item["top_logprobs"] = [dict(item["top_logprobs"][0], logprob=item["logprob"])]
            return reply

    report = await examined(Processed(lambda text: (" so", 0.4)), "llamacpp@{url}")
    found = report.findings["raw_logprobs"]
    assert (found.verdict, found.value) == (("degraded", False) if processed else ("fine", True))
    assert f"{math.log(0.4):.2f} at temperature 0" in found.evidence


@pytest.mark.parametrize(
    ("adds", "needs", "verdict"), [(True, False, "fine"), (False, False, "fine"), (False, True, "degraded")]
)
async def test_bos(adds: bool, needs: bool, verdict: str) -> None:
    def model(text: str) -> tuple[str, float] | None:
        counts = text.endswith("four five six") and (text.startswith("<bos>") or not needs)
        return (" seven", 0.9) if counts else (" rubbish", 0.5) if len(text) < 300 else None

    report = await examined(StandIn(model, adds_bos=adds), "llamacpp@{url}")
    found = report.findings["bos"]
    assert found.verdict == verdict
    assert ("--bos '<bos>'" in found.advice) is needs


async def test_a_template_that_cannot_be_rendered() -> None:
    report = await examined(TogetherStandIn(TOY), "together:toy@{url}")
    assert report.findings["chat_template"].verdict == "degraded"
    assert "--chat-template" in report.findings["chat_template"].advice
    assert report.findings["context_length"].verdict == "unknown"
    assert report.usable


async def test_a_refused_key() -> None:
    async def refuse(request: web.Request, body: dict[str, Any]) -> web.Response:
        return web.json_response({"error": {"message": "bad key"}}, status=401)

    standin = VllmStandIn(TOY)
    standin.fault = refuse
    report = await examined(standin, "vllm@{url}")
    assert verdicts(report) == {"reachable": "fine", "authenticated": "unusable"}


async def test_an_unknown_model_offers_the_nearest() -> None:
    report = await examined(VllmStandIn(TOY), "vllm:tiy@{url}")
    assert report.findings["model"].verdict == "unusable"
    assert "toy" in report.findings["model"].advice
    assert not report.usable


async def test_not_deterministic() -> None:
    turns = iter(range(10**6))
    report = await examined(StandIn(lambda text: (f" {next(turns) % 7}", 0.5)), "llamacpp@{url}")
    assert report.findings["deterministic"].verdict == "degraded"


def test_not_an_llm_server_at_all_and_nobody_there(here: Path) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, daemon=True).start()
    urls = [f"http://127.0.0.1:{server.server_port}", "http://127.0.0.1:9"]
    command = [sys.executable, "-m", "nudge_client.cli.main", "doctor", "--json", *(f"llamacpp@{url}" for url in urls)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    server.shutdown()
    server.server_close()
    assert done.returncode == 3, done.stderr
    page, nobody = json.loads(done.stdout)
    assert page["findings"]["reachable"]["verdict"] == "fine"
    assert "not JSON" in page["findings"]["model"]["evidence"]
    assert "cannot connect" in nobody["findings"]["reachable"]["evidence"]
    for report in (page, nobody):
        assert (report["usable"], report["plan"]) == (False, None)
        assert tuple(report["findings"]) == NAMES
        assert report["findings"]["logprobs"]["verdict"] == "unknown"


@pytest.mark.real
def test_the_real_pair(kept_pair: None, here: Path) -> None:
    command = [sys.executable, "-m", "nudge_client.cli.main", "doctor"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    base, nudger = json.loads(done.stdout)
    for report in (base, nudger):
        found = {name: item["value"] for name, item in report["findings"].items()}
        assert (found["logprobs"], found["max_top_logprobs"], found["raw_logprobs"]) == (True, 20, True)
        assert (found["prompt_logprobs"], found["streaming_logprobs"]) == (False, True)
        assert (found["context_length"], found["prefix_cache"]) == (4096, True)
        assert (report["usable"], report["plan"]) == (True, "streaming")
    assert base["findings"]["bos"]["value"] == "<bos>"
    assert nudger["findings"]["eos"]["verdict"] == "fine"
    assert base["findings"]["eos"]["verdict"] == "degraded"
    table = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout
    assert all(name in table for name in NAMES)
