"""Every example runs as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path, kept_pair: None) -> None:
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr == ""


def test_there_are_some() -> None:
    assert len(EXAMPLES) >= 4


def test_a_provider_of_ones_own_takes_one_file_and_one_entry_point(here: Path) -> None:
    info = here / "plain-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plain\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nudge_client.providers]\nplain = plain_function:PlainFunction\n")
    path = os.pathsep.join([str(here), str(EXAMPLES[0].parent)])
    command = [
        sys.executable,
        "-m",
        "nudge_client.cli.main",
        "run",
        "Hi",
        "--base",
        "plain:parrot",
        "--nudger",
        "plain:teacher",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Pieces of eight are what every good")
