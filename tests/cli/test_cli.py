"""The command as a user runs it: another process, real pipes, real signals; endpoints are stand-ins."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
from aiohttp import web

from tests.standin import StandIn, served
from tests.toys import writes

TEXT = "Yes we can do it all"


class Pair:
    """Two stand-ins and the flags that name them."""

    def __init__(self) -> None:
        # The base model's prompt has no mark of its end, so the answer start is one.
        self.base = StandIn(writes(TEXT, doubts={" can": 0.1}))
        self.nudger = StandIn(writes(TEXT + " of the time and so on and on and on for ever and ever after"))

    @property
    def flags(self) -> list[str]:
        start = ["--answer-start", "<|answer|>"]
        return ["--base", f"llamacpp@{self.base.url}", "--nudger", f"llamacpp@{self.nudger.url}", *start]


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    with served(made.base, made.nudger):
        yield made


def nudge(*args: str, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "nudge_client.cli.main", *args],
        input=stdin,
        capture_output=True,
        env=os.environ | env,
        timeout=60,
        check=False,
    )


def fails(done: subprocess.CompletedProcess[bytes], code: int, *words: str) -> None:
    """One clear error: the status, one message, no traceback, nothing on standard output."""
    said = done.stderr.decode()
    assert done.returncode == code, said
    assert "Traceback" not in said
    assert "defect" not in said
    assert done.stdout == b""
    for word in words:
        assert word in said, said


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
        nudge("run", "Can we?", *pair.flags, "--temperature", "0.7", "--seed", "3", "-q")
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


# Bad input, each one clear error and the right exit status


def test_server_down(pair: Pair, here: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    fails(nudge("run", "Hi", *pair.flags, "--base", f"llamacpp@{url}"), 3, url, "cannot connect", "server running")


def test_wrong_path(pair: Pair, here: Path) -> None:
    fails(nudge("run", "Hi", *pair.flags, "--base", f"llamacpp@{pair.base.url}/api"), 3, "404", "root url")


def test_not_a_completion_server(pair: Pair, here: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for flag in ("--base", "--nudger"):
        done = nudge("run", "Hi", *pair.flags, flag, f"llamacpp@http://127.0.0.1:{server.server_port}")
        fails(done, 3, f"127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


def test_not_http_at_all(pair: Pair, here: Path) -> None:
    class Greets(BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

    with ThreadingTCPServer(("127.0.0.1", 0), Greets) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        fails(nudge("run", "Hi", *pair.flags, "--base", f"llamacpp@{url}"), 3, url)
        server.shutdown()


def test_no_logprobs(pair: Pair, here: Path) -> None:
    pair.base.logprobs = False
    done = nudge("run", "Hi", *pair.flags)
    assert done.returncode == 3
    assert "no log-probabilities" in done.stderr.decode()


def test_unknown_model(pair: Pair, here: Path) -> None:
    fails(nudge("run", "Hi", *pair.flags, "--nudger", f"llamacpp:toy-9b@{pair.nudger.url}"), 3, "toy-9b", "toy-7b")
    fails(nudge("run", "Hi", "--base", "local:gemma-9"), 2, "no local model 'gemma-9'", "local:gemma-3-270m")


def test_prompt_longer_than_the_context(pair: Pair, here: Path) -> None:
    pair.nudger.window = 50
    fails(nudge("run", "long " * 50, *pair.flags), 3, "tokens", "holds 50")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run"], ["no prompt"]),
        (["run", ""], ["prompt is empty"]),
        (["run", "  \n "], ["prompt is empty"]),
        (["run", "Hi", "--nonsense"], ["--nonsense"]),
        (["nonsense"], ["nonsense"]),
        (["run", "Hi", "--threshold", "0"], ["--threshold: 0.0", "greater than 0"]),
        (["run", "Hi", "--threshold", "1.5"], ["--threshold: 1.5", "less than or equal to 1"]),
        (["run", "Hi", "--threshold", "x"], ["--threshold"]),
        (["run", "Hi", "--chunk", "0"], ["--chunk: 0", "greater than or equal to 1"]),
        (["run", "Hi", "--boundary", "letter"], ["--boundary", "word"]),
        (["run", "Hi", "--preset", "paper", "--boundary", "token"], ["paper's method has no boundary"]),
        (["run", "Hi", "--preset", "paper", "--form", "plain"], ["paper's prompts"]),
        (["run", "Hi", "--messages", "x.json"], ["not both"]),
        (["run", "--messages", "none.json"], ["none.json", "No such file"]),
        (["run", "Hi", "--config", "none.toml"], ["none.toml", "no such file"]),
        (["run", "Hi", "--template", "none.jinja"], ["none.jinja", "chatml"]),
        (["run", "Hi", "--trace", "no/such/folder/t.jsonl"], ["no/such/folder", "No such file"]),
        (["run", "Hi", "--base", "gpt@http://h:1"], ["unknown provider 'gpt'"]),
        (["run", "Hi", "--base", "llamacpp"], ["needs a url"]),
    ],
)
def test_usage_errors(here: Path, args: list[str], words: list[str]) -> None:
    fails(nudge(*args), 2, *words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", ["not JSON"]),
        (b"\xff", ["not UTF-8"]),
        (b'"Hi"', ["no list of messages"]),
        (b'[{"role": "robot", "content": "Hi"}]', ["message 0", "unknown role 'robot'"]),
        (b"[]", ["last message"]),
    ],
)
def test_bad_messages_file(here: Path, content: bytes, words: list[str]) -> None:
    Path("chat.json").write_bytes(content)
    fails(nudge("run", "--messages", "chat.json"), 2, "chat.json", *words)


def test_template_that_does_not_parse(here: Path) -> None:
    Path("bad.jinja").write_text("{% for %}")
    fails(nudge("run", "Hi", "--template", "bad.jinja"), 2, "bad.jinja", "line 1")


def test_undecodable_input(here: Path) -> None:
    fails(nudge("run", "-", stdin=b"caf\xe9"), 2, "standard input", "not UTF-8")
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"nudge_client.cli.main", b"run", b"caf\xe9"], capture_output=True, check=False
    )
    fails(done, 2, "no character")


def test_unknown_key_in_config(here: Path) -> None:
    Path("nudge.toml").write_text("treshold = 0.3\n")
    fails(nudge("run", "Hi"), 2, "nudge.toml: treshold", "threshold")


def test_debug_shows_a_traceback(here: Path) -> None:
    done = nudge("run", "", "--debug")
    assert done.returncode == 2
    assert b"Traceback" in done.stderr


def test_output_closed_early(pair: Pair, here: Path) -> None:
    """`nudge run … | head -c 1`: the reader has enough, and nobody complains."""
    ready, slow = threading.Event(), threading.Event()

    async def fault(request: web.Request, body: dict[str, Any]) -> None:
        if len(pair.base.bodies) > 0:
            import asyncio

            ready.set()
            await asyncio.to_thread(slow.wait, 20)

    pair.base.fault = fault
    process = subprocess.Popen(
        [sys.executable, "-m", "nudge_client.cli.main", "run", "Hi", *pair.flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    assert process.stdout.read(1) == b"Y"
    process.stdout.close()
    assert ready.wait(20)
    slow.set()
    assert process.wait(20) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_keeps_what_was_written(pair: Pair, here: Path, times: int) -> None:
    hold = threading.Event()

    async def fault(request: web.Request, body: dict[str, Any]) -> None:
        import asyncio

        await asyncio.to_thread(hold.wait, 20)

    pair.base.fault = fault
    process = subprocess.Popen(
        [sys.executable, "-m", "nudge_client.cli.main", "run", "Hi", *pair.flags, "--trace", "trace.jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.read(3) == b"Yes"
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    hold.set()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"interrupted" in err
    if times == 1:
        assert out == b"\n"
        assert json.loads(Path("trace.jsonl").read_text())["text"] == "Yes"


def test_no_colour_in_a_pipe_and_colour_on_a_terminal(pair: Pair, here: Path) -> None:
    import pty

    assert b"\x1b" not in nudge("run", "Hi", *pair.flags, "-q").stdout

    def on_terminal(**env: str) -> bytes:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "nudge_client.cli.main", "run", "Hi", *pair.flags, "-q"],
            stdout=theirs,
            env=os.environ | {"TERM": "xterm"} | env,
        )
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        os.close(ours)
        process.wait(20)
        return shown

    assert b"\x1b[32m\x1b[1mYes\x1b[0m we" in on_terminal()
    assert b"\x1b" not in on_terminal(NO_COLOR="1")


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


def shell(command: str, *args: str) -> subprocess.CompletedProcess[bytes]:
    """The command in bash as `nudge`, with its arguments as "$@"."""
    script = f'nudge() {{ "{sys.executable}" -m nudge_client.cli.main "$@"; }}; {command}'
    return subprocess.run(["bash", "-c", script, "bash", *args], capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("what", ["run Can-we", "run Can-we --json", "config show", "--version", "--help"])
def test_full_disk(pair: Pair, here: Path, what: str) -> None:
    flags = pair.flags if what.startswith("run") else []
    done = shell(f'nudge {what} "$@" > /dev/full', *flags)
    assert done.returncode == 2
    assert b"No space left" in done.stderr
    assert b"defect" not in done.stderr


@pytest.mark.parametrize("what", ["run Can-we", "run Can-we --json", "config show", "local status", "--version"])
def test_closed_output(pair: Pair, here: Path, what: str) -> None:
    flags = pair.flags if what.startswith("run") else []
    done = shell(f'nudge {what} "$@" >&-', *flags)
    assert (done.returncode, b"defect" in done.stderr) == (0, False), done.stderr


def test_closed_input(here: Path) -> None:
    fails(shell("nudge run - <&-"), 2, "standard input is closed")


@pytest.mark.parametrize("what", ["config show", "--help", "run --help"])
def test_help_into_a_closed_pipe(here: Path, what: str) -> None:
    done = shell(f"set -o pipefail; nudge {what} | true")
    assert (done.returncode in (0, 141), done.stderr) == (True, b"")


def test_a_trace_that_is_there_survives_a_failure(pair: Pair, here: Path) -> None:
    Path("trace.jsonl").write_text("precious\n")
    assert (
        nudge("run", "Hi", *pair.flags, "--trace", "trace.jsonl", "--base", "llamacpp@http://127.0.0.1:9").returncode
        == 3
    )
    assert Path("trace.jsonl").read_text() == "precious\n"
    fails(nudge("run", "--messages", "trace.jsonl", "--trace", "./trace.jsonl", *pair.flags), 2, "overwrite")


def test_byte_order_marks(pair: Pair, here: Path) -> None:
    Path("nudge.toml").write_bytes(b"\xef\xbb\xbfmax_tokens = 2\n")
    Path("chat.json").write_bytes(b'\xef\xbb\xbf[{"role": "user", "content": "Hi"}]')
    assert nudge("run", "--messages", "chat.json", *pair.flags).stdout == b"Yes we\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", "Hi", "--answer-start", "\udcff"], ["answer_start", "no character"]),
        (["run", "Hi", "--stop", "\udcff"], ["stop", "no character"]),
        (["run", "Hi", "--base", "llamacpp@http://a..b"], ["unreadable url"]),
        (["run", "Hi", "--draft", "99999999999999999999"], ["--draft", "less than or equal"]),
        (["run", "Hi", "--base", "local"], ["no local model"]),
    ],
)
def test_more_usage_errors(here: Path, args: list[str], words: list[str]) -> None:
    fails(nudge(*args), 2, *words)


def test_more_bad_files(here: Path) -> None:
    Path("nudge.toml").write_text("a = " + "[" * 5000)
    fails(nudge("run", "Hi"), 2, "nudge.toml")
    Path("nudge.toml").write_text("max_tokens = true")
    fails(nudge("run", "Hi"), 2, "max_tokens")
    Path("nudge.toml").unlink()
    Path("half.jinja").write_text('{{ "\\ud800" }}')
    fails(nudge("run", "Hi", "--template", "half.jinja"), 2, "half.jinja")


def test_unknown_host(pair: Pair, here: Path) -> None:
    fails(nudge("run", "Hi", *pair.flags, "--base", "llamacpp@http://no.such.host.invalid:1"), 3, "no such host")
