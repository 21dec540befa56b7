"""A pair of stand-ins, served."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.command import Pair
from tests.standin import served


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    with served(made.base, made.nudger):
        yield made
