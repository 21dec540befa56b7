"""A pair of stand-ins, served."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nudge_providers.standins import served
from tests.cli.command import Pair


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    with served(made.base, made.nudger):
        yield made
