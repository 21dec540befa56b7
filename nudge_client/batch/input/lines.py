"""Lines of a file, of any size and any content, and the JSON in them.

A line ends at a line feed and nowhere else: U+2028 or a form feed inside a JSON string is text. Files are read lazily,
so that millions of lines take no more memory than a hundred.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from nudge_providers.errors import UsageError
from nudge_providers.parsing import is_text

LONGEST = 64 << 20  # bytes of one line
DEEPEST = 200  # JSON objects and lists inside each other; Python itself fails somewhere above, by version and stack
BLANK = b" \t\r\n"  # JSON's white space (RFC 8259, section 2)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, to be read. Raises UsageError when it cannot be, now or later, or when it could be read only once."""
    if path.exists() and not path.is_file():
        raise UsageError(f"input {path}: it is not a file; a pipe is read from standard input, as -")
    try:
        with path.open("rb", buffering=1 << 17) as file:
            yield file
    except OSError as error:
        raise UsageError(f"input {path}: {error.strerror or error}") from None


def lines_of(file: BinaryIO) -> Iterator[bytes | None]:
    """Each line with its end, without a byte order mark; None for one longer than LONGEST, which is passed over."""
    line = file.readline(LONGEST + 1).removeprefix(BOM_UTF8)
    while line:
        if len(line) <= LONGEST or line.endswith(b"\n"):
            yield line
        else:
            while line and not line.endswith(b"\n"):
                line = file.readline(1 << 20)
            yield None
        line = file.readline(LONGEST + 1)


def json_in(line: bytes) -> Any:
    """The value that a line holds, by the letter of JSON (RFC 8259).

    Raises UsageError for what is none, and for what could not be written out again as it was: repeated names, NaN and
    infinities, numbers beyond Python's, half surrogate pairs, and nesting beyond DEEPEST.
    """
    try:
        text = line.decode()
        value = DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise UsageError(f"it is not UTF-8 text (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"it is not JSON: {error.msg} (column {error.pos + 1})") from None
    except ValueError:  # an integer beyond sys.get_int_max_str_digits()
        raise UsageError("it holds a number with too many digits") from None
    except RecursionError:
        raise UsageError(TOO_DEEP) from None
    if text.count("{") + text.count("[") > DEEPEST and _deeper_than(value, DEEPEST):
        raise UsageError(TOO_DEEP)
    if ("\\ud" in text or "\\uD" in text) and not is_text(json.dumps(value, ensure_ascii=False)):
        raise UsageError("it holds half a surrogate pair, which is no character")
    return value


TOO_DEEP = f"it is nested deeper than {DEEPEST} objects and lists"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in found if names.count(name) > 1)
        raise UsageError(f"an object in it has {repeated[:60]!r} twice")
    return found


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise UsageError(f"it holds a number that is too large: {text[:60]}")
    return value


def _constant(name: str) -> None:
    raise UsageError(f"it is not JSON: {name} is no JSON value")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        held = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        if not held:
            return False
        level = [item for items in held for item in items]
    return True
