"""The search for planted keys: it finds them wherever one shows, and the keys are really in use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from nudge_providers.standins import served
from tests.cli.command import Pair, nudge
from tests.planted import KEY, VARIABLES

pytest_plugins = "pytester"

CONFTEST = """
from tests.conftest import _clean_environment
from tests.planted import Planted

def pytest_configure(config):
    config.pluginmanager.register(Planted())
"""
LEAKS = f'''
import logging, subprocess, sys, json
import pytest
from nudge_providers.errors import AuthenticationError, UsageError

KEY = "{KEY}"

def test_clean(tmp_path, caplog):
    with caplog.at_level("DEBUG"):
        logging.getLogger("nudge_client").debug("a key")
    with pytest.raises(UsageError):
        raise UsageError("a bad key")
    (tmp_path / "answer.json").write_text("{{}}")
    print("sk-other", subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True).stdout)

def test_printed():
    print("with", KEY)

def test_printed_as_an_error():
    print("with", KEY, file=sys.stderr)

def test_logged():
    logging.warning("with %s", KEY)

def test_logged_at_a_level_that_nobody_captures():
    logging.getLogger("nudge_providers.retry").debug("with %s", KEY)

def test_logged_with_a_traceback():
    try:
        raise ValueError(KEY)
    except ValueError:
        logging.getLogger("nudge_client").exception("oh")

def test_written_by_a_command():
    subprocess.run([sys.executable, "-c", "import os; print(os.environ['LLAMA_API_KEY'])"], capture_output=True)

def test_in_an_error():
    with pytest.raises(UsageError):
        raise UsageError("with " + KEY)

def test_in_the_endpoint_of_an_error():
    with pytest.raises(AuthenticationError):
        raise AuthenticationError("no", endpoint="http://" + KEY + "@host")

def test_in_the_cause_of_an_error():
    with pytest.raises(UsageError):
        raise UsageError("no") from ValueError(KEY)

def test_in_an_error_of_very_many():
    for number in range(300):
        with pytest.raises(UsageError):
            raise UsageError(KEY if number == 5 else "no")

def test_in_a_file(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "trace.jsonl").write_text(json.dumps({{"headers": {{"authorization": "Bearer " + KEY}}}}))

def test_key_from_a_file_that_is_exempt(tmp_path):
    (tmp_path / "key").write_text(KEY)
'''


def test_every_leak_is_caught(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_leaks=LEAKS)
    result = pytester.runpytest_subprocess("-q")
    fine = {"test_clean", "test_in_a_file", "test_key_from_a_file_that_is_exempt"}
    names = [line.split("(")[0].removeprefix("def ") for line in LEAKS.splitlines() if line.startswith("def test_")]
    caught = {line.split("::")[1].split(" ")[0] for line in result.outlines if line.startswith("ERROR test_leaks.py")}
    assert caught == set(names) - fine
    result.stdout.fnmatch_lines(["A PLANTED KEY SHOWS in the file *trace.jsonl"])
    assert sum("in the file" in line for line in result.outlines) == 1


def test_a_leak_into_a_file_alone_fails_the_run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(f"def test_it(tmp_path):\n    (tmp_path / 'out.json').write_text('{KEY}')\n")
    result = pytester.runpytest_subprocess("-q")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_every_variable_is_planted() -> None:
    assert len(VARIABLES) > 6
    assert {os.environ[name] for name in VARIABLES} == {KEY}


@pytest.mark.parametrize("status", [200, 401])
def test_the_keys_are_in_use(status: int, here: Path) -> None:
    """The planted key goes to the server, and shows in nothing that a run leaves behind."""
    seen: list[str] = []

    async def look(request: web.Request, body: dict[str, Any]) -> web.Response | None:
        seen.append(request.headers["authorization"])
        said = {"error": {"message": f"you sent {request.headers['x-request-id']}"}}
        return None if status == 200 else web.json_response(said, status=status)

    pair = Pair()
    pair.base.fault = look
    with served(pair.base, pair.nudger):
        done = nudge("run", "--json", *pair.flags, "Hi")
    assert set(seen) == {f"Bearer {KEY}"}
    assert done.returncode == (0 if status == 200 else 3), done.stderr
    if status == 200:
        json.loads(done.stdout)
