"""The README's snippets run, and what it says of commands and flags is so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(python|sh|toml)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
# Set-up and the tests themselves cannot run inside the tests.
NOT_HERE = ("pip install", "uv run pytest", "git clone", "export ")


def commands() -> list[str]:
    joined = "\n".join(body for language, body in BLOCKS if language == "sh").replace("\\\n", "")
    lines = [line.split("  #")[0].strip() for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("body", [body for language, body in BLOCKS if language == "python"])
def test_python(body: str, kept_pair: None, here: Path) -> None:
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.fixture(scope="session")
def job_folder(tmp_path_factory: pytest.TempPathFactory, kept_folder: Path) -> Path:
    """Where the README's job was run, for the commands that look at it."""
    folder = tmp_path_factory.mktemp("job")
    for line in commands():
        if "> rows.jsonl" in line or line.startswith("uv run nudge batch rows.jsonl"):
            command = line.replace("uv run nudge", f"{sys.executable} -m nudge_client.cli.main")
            environment = os.environ | {"NUDGE_STATE_DIR": str(kept_folder)}
            subprocess.run(["bash", "-c", command], cwd=folder, env=environment, check=True, timeout=120)
    return folder


@pytest.mark.parametrize("line", [line for line in commands() if not any(word in line for word in NOT_HERE)])
def test_command(line: str, kept_pair: None, here: Path, job_folder: Path) -> None:
    if "nudge batch" in line:
        shutil.copytree(job_folder, here, dirs_exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (here / "chat.json").write_text('[{"role": "user", "content": "Name a fruit."}]')
    (here / "prompts.txt").write_text("Why is the sky blue?\n")
    command = line.replace("uv run nudge", "nudge")
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("body", [body for language, body in BLOCKS if language == "toml"])
def test_toml(body: str, here: Path) -> None:
    from nudge_client import load_config

    (here / "nudge.toml").write_text(body, "utf-8")
    load_config(environ={})


def test_the_two_commands() -> None:
    listed = [line for line in README.splitlines() if line.startswith(("pip install uv", "uv run pytest"))]
    assert len(listed) == 2
    assert 'uv run nudge run "Give me three tips for staying healthy."' in listed[0]
    assert "uv run pytest" in (ROOT / ".ci" / "run").read_text()
