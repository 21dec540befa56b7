"""Bad input: one clear error each, and the right exit status."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest

from tests.cli.command import Pair, fails, nudge


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
        (["run", "Hi", "--chat-template", "none.jinja"], ["none.jinja", "chatml"]),
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
    fails(nudge("run", "Hi", "--chat-template", "bad.jinja"), 2, "bad.jinja", "line 1")


def test_undecodable_input(here: Path) -> None:
    fails(nudge("run", "-", stdin=b"caf\xe9"), 2, "standard input", "not UTF-8")
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"nudge_client.cli.main", b"run", b"caf\xe9"], capture_output=True, check=False
    )
    fails(done, 2, "no character")


def test_unknown_key_in_config(here: Path) -> None:
    Path("nudge.toml").write_text("treshold = 0.3\n")
    fails(nudge("run", "Hi"), 2, "nudge.toml: treshold", "threshold")


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
    fails(nudge("run", "Hi", "--chat-template", "half.jinja"), 2, "half.jinja")


def test_unknown_host(pair: Pair, here: Path) -> None:
    fails(nudge("run", "Hi", *pair.flags, "--base", "llamacpp@http://no.such.host.invalid:1"), 3, "no such host")
