"""`nudge run` and `nudge config` as a user runs them: another process, real pipes; endpoints are stand-ins."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.command import Pair, fails, nudge


def test_answer_on_stdout_and_summary_on_stderr(pair: Pair, here: Path) -> None:
    done = nudge("run", "Can we?", *pair.flags, "--max-tokens", "5")
    assert done.stdout.decode() == "Yes we can do it\n"
    assert done.returncode == 0
    summary = done.stderr.decode()
    for word in ("5 tokens", "40% nudged", "1 base + 2 nudger requests", "discarded", " s ", "tokens/s", "token limit"):
        assert word in summary


def test_quiet(pair: Pair, here: Path) -> None:
    assert nudge("run", "Can we?", *pair.flags, "--quiet").stderr == b""


def test_prompt_from_stdin_and_json(pair: Pair, here: Path) -> None:
    done = nudge("run", "-", *pair.flags, "--json", "-q", stdin="Können wir? 🎉\n".encode())
    answer = json.loads(done.stdout)
    assert answer["text"] == "".join(segment["text"] for segment in answer["segments"])
    assert "Können wir? 🎉\n<|answer|>" in pair.base.bodies[0]["prompt"]


def test_messages_system_and_stop(pair: Pair, here: Path) -> None:
    Path("chat.json").write_text(json.dumps({"messages": [{"role": "user", "content": "Can we?"}]}))
    done = nudge("run", "--messages", "chat.json", "--system", "Be brief.", "--stop", " do", *pair.flags)
    assert done.stdout.decode() == "Yes we can\n"
    assert pair.nudger.bodies[0]["prompt"].startswith("<|system|>Be brief.<|user|>Can we?")


def test_trace(pair: Pair, here: Path) -> None:
    done = nudge("run", "Can we?", *pair.flags, "--trace", "trace.jsonl", "--max-tokens", "4")
    rows = [json.loads(line) for line in Path("trace.jsonl").read_text().splitlines()]
    assert "".join(row["text"] for row in rows) + "\n" == done.stdout.decode()
    assert [row["author"] for row in rows] == ["nudger", "base", "nudger", "base"]
    assert set(rows[0]) == {"author", "text", "top_probability", "reason", "request"}


def test_paper_preset(pair: Pair, here: Path) -> None:
    done = nudge("run", "Can we?", *pair.flags, "--preset", "paper", "--json", "-q")
    assert json.loads(done.stdout)["plan"] == "paper"


def test_same_seed_same_answer(pair: Pair, here: Path) -> None:
    for _ in range(2):
        nudge("run", "Can we?", *pair.flags, "--temperature", "0.7", "--seed", "3", "-q", "--plan", "chunked")
    half = len(pair.base.bodies) // 2
    assert pair.base.bodies[:half] == pair.base.bodies[half:]
    assert pair.base.bodies[0]["temperature"] == 0.7


def test_settings_from_file_and_environment(pair: Pair, here: Path) -> None:
    assert nudge("config", "init").returncode == 0
    text = Path("nudge.toml").read_text().replace("#max_tokens = 512", "max_tokens = 3")
    Path("nudge.toml").write_text(text)
    assert nudge("run", "Can we?", *pair.flags).stdout.decode() == "Yes we can\n"
    assert nudge("run", "Can we?", *pair.flags, NUDGE_MAX_TOKENS="2").stdout.decode() == "Yes we\n"


def test_config_show(here: Path) -> None:
    shown = json.loads(nudge("config", "show", "--json", "--chunk", "5", NUDGE_DRAFT="9").stdout)
    assert shown["chunk"] == {"value": 5, "origin": "--chunk"}
    assert shown["draft"] == {"value": 9, "origin": "NUDGE_DRAFT"}
    assert shown["threshold"] == {"value": 0.3, "origin": "default"}
    table = nudge("config", "show", COLUMNS="200").stdout.decode()
    assert all(name in table for name in shown)


def test_config_init_does_not_overwrite(here: Path) -> None:
    Path("nudge.toml").write_text("chunk = 3\n")
    fails(nudge("config", "init"), 2, "nudge.toml is there already", "--force")
    assert Path("nudge.toml").read_text() == "chunk = 3\n"
    assert nudge("config", "init", "--force").returncode == 0


def test_debug_shows_a_traceback(here: Path) -> None:
    done = nudge("run", "", "--debug")
    assert done.returncode == 2
    assert b"Traceback" in done.stderr


def test_help_imports_nothing_heavy() -> None:
    for args in (["--help"], ["run", "--help"], ["config", "--help"], ["local", "--help"]):
        code = (
            "import sys; from nudge_client.cli.main import main; main(sys.argv[1:]); "
            "heavy = {'pydantic', 'aiohttp', 'rich', 'tiktoken', 'jinja2', 'asyncio'} & set(sys.modules); "
            "sys.exit(f'imported {heavy}' if heavy else 0)"
        )
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert b"Usage: nudge" in done.stdout


def test_version() -> None:
    assert nudge("--version").stdout.startswith(b"nudge-client ")


def test_debug_on_a_good_run(pair: Pair, here: Path) -> None:
    for args in (["run", "Can we?", "--debug", *pair.flags], ["--debug", "run", "Can we?", *pair.flags]):
        done = nudge(*args)
        assert done.returncode == 0, done.stderr
    assert nudge("config", "show", NUDGE_DEBUG="1").returncode == 0
