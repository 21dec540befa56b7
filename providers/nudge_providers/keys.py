"""API keys: from an environment variable or a file, held as secrets, shown nowhere."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import SecretStr

from nudge_providers.errors import UsageError

LONGEST = 16_384  # no key is a file of this size


def key_from_environment(variable: str) -> SecretStr | None:
    """The key in `variable`, or in the file that `variable` + `_FILE` names; None when neither is set.

    Raises UsageError for what cannot be a key or cannot be read.
    """
    if os.environ.get(variable):
        return _checked(variable, os.environ[variable])
    named = f"{variable}_FILE"  # as container platforms hand out secrets
    return key_from_file(Path(os.environ[named]), named) if os.environ.get(named) else None


def key_from_file(path: Path, origin: str) -> SecretStr:
    """The key that is all there is in a file. origin: who named the file. Raises UsageError."""
    try:
        with path.expanduser().open("rb") as file:
            raw = file.read(LONGEST)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "it cannot be found"
        raise UsageError(f"{origin}: the key file {path}: {reason}") from None
    key = _checked(f"{origin}: the key file {path}", raw.decode("utf-8-sig", "replace"))
    if not key:
        raise UsageError(f"{origin}: the key file {path} is empty")
    return key


def _checked(origin: str, value: str) -> SecretStr:
    """A key as it can stand in a header. Its value is in no message."""
    value = value.strip()
    if not value.isascii() or not value.isprintable():
        raise UsageError(f"{origin}: the key holds characters that no key has; was it read from a broken file?")
    return SecretStr(value)
