"""No test sees the settings, keys or running pair of whoever runs it; the keys that it sees are planted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.planted import KEY, VARIABLES, Planted


def pytest_configure(config: pytest.Config) -> None:
    plugin = Planted()
    config.pluginmanager.register(plugin, "planted-keys")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in list(os.environ):
        if name.startswith("NUDGE_") or name == "NO_COLOR":
            monkeypatch.delenv(name)
    for name in VARIABLES:
        monkeypatch.setenv(name, KEY)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "config"))
    monkeypatch.setenv("NUDGE_STATE_DIR", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture(scope="session")
def real_pair() -> Iterator[dict[str, str]]:
    """Urls of the embedded pair, on servers of its own for the whole session."""
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
                    urls[name] = json.loads(line)["url"]
                    break
        yield urls
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def kept_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder in which the embedded pair is kept for the whole session."""
    folder = tmp_path_factory.mktemp("kept")
    command = [sys.executable, "-m", "nudge_client.cli.main", "local"]
    environment = os.environ | {"NUDGE_STATE_DIR": str(folder)}
    subprocess.run([*command, "up"], env=environment, check=True, capture_output=True, timeout=120)
    yield folder
    subprocess.run([*command, "down"], env=environment, check=True, capture_output=True, timeout=60)


@pytest.fixture
def kept_pair(kept_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of this test find a pair that is kept."""
    monkeypatch.setenv("NUDGE_STATE_DIR", str(kept_folder))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
