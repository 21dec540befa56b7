"""No test sees the settings, keys or running pair of whoever runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in list(os.environ):
        if name.startswith("NUDGE_") or name in ("LLAMA_API_KEY", "NO_COLOR"):
            monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "config"))
    monkeypatch.setenv("NUDGE_STATE_DIR", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture(scope="session")
def real_pair() -> Iterator[dict[str, str]]:
    """Urls of the embedded pair, on servers of its own for the whole session."""
    import subprocess
    import sys

    from nudge_client.local.models import MODELS

    urls: dict[str, str] = {}
    processes = []
    try:
        for name in MODELS:
            code = (
                "import sys; from nudge_client.local.models import model_file; from nudge_client.local import server; "
                "sys.argv = ['', str(model_file(sys.argv[1]))]; server.main()"
            )
            process = subprocess.Popen(
                [sys.executable, "-c", code, name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            processes.append(process)
            assert process.stdout
            for line in process.stdout:
                if line.startswith(b'{"url"'):
                    urls[name] = __import__("json").loads(line)["url"]
                    break
        yield urls
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
