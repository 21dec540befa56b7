"""Planted keys: every test runs with recognisable ones, and fails where one shows that was to be a secret.

Searched are what a test printed and logged, what its commands wrote, the errors that it met with their causes, and at
the end every file that the run left in its temporary folders: traces, batches, JSON output, settings.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from nudge_providers.compatible import PROFILES
from nudge_providers.errors import NudgeError
from nudge_providers.llamacpp import LlamaCppProvider
from nudge_providers.together import TogetherProvider
from nudge_providers.vllm import VllmProvider

KEY = "sk-PLANTED-5b1f0c7e"
_OWN = (profile.profile.key_variable for profile in (LlamaCppProvider, TogetherProvider, VllmProvider))
VARIABLES = sorted({*(profile.key_variable for profile in PROFILES.values() if profile.key_variable), *_OWN})
# Tests plant keys of their own, too: all begin so.
_MARK = re.compile(rb"sk-planted", re.IGNORECASE)
LARGEST = 8 * 2**20  # bytes of a file that is read; models are larger
ERRORS_KEPT = 100
# Tests that show a key on purpose, and what of theirs is not searched.
# They test this search.
EXEMPT = ("test_every_leak_is_caught", "test_a_leak_into_a_file_alone_fails_the_run")
# Other people's loggers write the urls that they are given; the test itself reads ours.
LOGS_EXEMPT = {"test_keys_are_shown_nowhere"}
# They write a key into a file, to have it read, or refused, from there.
FILES_EXEMPT = (
    *(name[:30] for name in EXEMPT),
    "test_key_from_a_file_",
    "test_an_account_of_ones_own",
    "test_bad_accounts_",
)


def shows(text: str | bytes) -> bool:
    """Whether a planted key is in it."""
    return _MARK.search(text.encode("utf-8", "replace") if isinstance(text, str) else text) is not None


def told_by(error: BaseException | None) -> Iterator[str]:
    """All that an error tells whoever catches, prints or pickles it."""
    while error is not None:
        yield f"{error} {error!r} {vars(error)!r} {error.args!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


class Planted(logging.Handler):
    """The pytest plugin. It is a log handler, too, because only some records are captured."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.leaks: list[str] = []
        self.files: list[str] = []
        self.errors: deque[BaseException] = deque()
        self.undo = pytest.MonkeyPatch()

    def pytest_configure(self, config: pytest.Config) -> None:
        planted, communicate = self, subprocess.Popen.communicate

        def meet(error: NudgeError, *args: object) -> None:
            Exception.__init__(error, *args)
            planted.errors.append(error)
            if len(planted.errors) > ERRORS_KEPT:
                planted.judge_error(planted.errors.popleft())

        def heard(process: subprocess.Popen[Any], *args: Any, **options: Any) -> tuple[Any, Any]:
            said = communicate(process, *args, **options)
            if any(shows(each) for each in said if each):
                planted.leaks.append("the output of a command")
            return said

        self.undo.setattr(NudgeError, "__init__", meet)
        self.undo.setattr(subprocess.Popen, "communicate", heard)
        for name in ("nudge_client", "nudge_providers"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger().addHandler(self)

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        logging.getLogger().removeHandler(self)
        self.undo.undo()

    def emit(self, record: logging.LogRecord) -> None:
        if shows(self.format(record)):
            self.leaks.append(f"a log record of {record.name}")

    def judge_error(self, error: BaseException) -> None:
        if any(map(shows, told_by(error))):
            self.leaks.append(f"a {type(error).__name__}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "teardown":
            while self.errors:
                self.judge_error(self.errors.popleft())
            found, self.leaks = self.leaks, []
            found += [name for name, text in report.sections if shows(text)]
            name = item.name.partition("[")[0]
            if name in EXEMPT:
                found = []
            if name in LOGS_EXEMPT:
                found = [each for each in found if "log" not in each]
            if found and report.passed:
                report.outcome = "failed"
                report.longrepr = f"A PLANTED KEY SHOWS in {', '.join(dict.fromkeys(found))}"
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        base = getattr(getattr(session.config, "_tmp_path_factory", None), "_basetemp", None)
        self.files = [str(path.relative_to(base)) for path in _leaking(base)] if base else []
        if self.files and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name in self.files:
            terminalreporter.write_line(f"A PLANTED KEY SHOWS in the file {name}", red=True)


def _leaking(base: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(base):
        if folder == str(base):
            names[:] = [name for name in names if not name.startswith(FILES_EXEMPT)]
        for path in (Path(folder) / name for name in files):
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST and shows(path.read_bytes()):
                yield path
