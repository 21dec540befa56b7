from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nudge_client.cli.options import SETTINGS
from nudge_client.config import commented_toml, load_config
from nudge_client.endpoints import open_endpoints
from nudge_client.settings import Settings
from nudge_providers import UsageError


def test_flags_go_before_environment_before_file_before_defaults(here: Path) -> None:
    Path("nudge.toml").write_text('threshold = 0.1\nchunk = 5\ndraft = 6\nstop = "x"\n', "utf-8")
    loaded = load_config({"threshold": 0.3, "max_tokens": None}, environ={"NUDGE_THRESHOLD": "0.2", "NUDGE_CHUNK": "7"})
    settings, origins = loaded.settings, loaded.origins
    assert (settings.threshold, settings.chunk, settings.draft, settings.max_tokens) == (0.3, 7, 6, 512)
    assert settings.stop == ("x",)
    assert [origins[name] for name in ("threshold", "chunk", "draft", "max_tokens")] == [
        "--threshold",
        "NUDGE_CHUNK",
        "nudge.toml: draft",
        "default",
    ]


def test_lists_in_the_environment(here: Path) -> None:
    assert load_config(environ={"NUDGE_STOP": '["a", "b"]'}).settings.stop == ("a", "b")
    assert load_config(environ={"NUDGE_STOP": "a, b"}).settings.stop == ("a, b",)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"threshold": 0}, "--threshold: 0: .*greater than 0"),
        ({"threshold": 1.01}, "less than or equal to 1"),
        ({"threshold": float("nan")}, "--threshold"),
        ({"chunk": 0}, "--chunk: 0: .*greater than or equal to 1"),
        ({"max_tokens": -3}, "--max-tokens"),
        ({"temperature": -1}, "--temperature"),
        ({"top_p": 0}, "--top-p"),
        ({"boundary": "letter"}, "--boundary: 'letter'"),
        ({"stop": [""]}, "a stop string is empty"),
        ({"base": "gpt"}, None),
        ({"base": ""}, "--base: endpoint '' does not name a provider"),
        ({"nudger": "x@http://me:hunter2@h"}, "--nudger: an endpoint's url must not hold"),
        ({"treshold": 0.3}, "--treshold: unknown setting; did you mean 'threshold'"),
        ({"preset": "paper", "boundary": "word"}, "the paper's method has no boundary"),
        ({"preset": "paper", "stop": ["x"]}, "the paper's method has no stop"),
    ],
)
def test_bad_settings_name_place_and_fix(here: Path, flags: dict[str, Any], problem: str | None) -> None:
    if problem is None:
        load_config(flags, environ={})
        return
    with pytest.raises(UsageError, match=problem) as caught:
        load_config(flags, environ={})
    assert "hunter2" not in str(caught.value)


def test_unknown_key_in_file_and_environment(here: Path) -> None:
    with pytest.raises(UsageError, match="NUDGE_TRESHOLD: unknown setting; did you mean 'threshold'"):
        load_config(environ={"NUDGE_TRESHOLD": "1"})
    Path("nudge.toml").write_text("tempratur = 1\n", "utf-8")
    with pytest.raises(UsageError, match=r"nudge.toml: tempratur: unknown setting; did you mean 'temperature'"):
        load_config(environ={})


@pytest.mark.parametrize(("content", "problem"), [(b"a = ", "not TOML"), (b"\xff", "not UTF-8")])
def test_unreadable_file(here: Path, content: bytes, problem: str) -> None:
    Path("nudge.toml").write_bytes(content)
    with pytest.raises(UsageError, match=problem):
        load_config(environ={})


def test_named_file_must_be_there(here: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_config(file=Path("other.toml"), environ={})


def test_init_file_is_the_defaults(here: Path) -> None:
    """Every setting is in it; as written it changes nothing, and with the comments taken off it still loads."""
    text = commented_toml()
    assert tomllib.loads(text) == {}
    uncommented = "\n".join(
        line.removeprefix("#") for line in text.splitlines() if line.startswith("#") and line[1] != " "
    )
    values = tomllib.loads(uncommented)
    assert set(values) == set(Settings.model_fields)
    for name in (
        "seed",
        "chunk",
        "nudger_temperature",
        "base_stop",
        "providers",
        "prices",
    ):  # no default: shown by example
        del values[name]
    assert Settings(**values).model_dump() == Settings().model_dump()


ACCOUNT = """
[providers.mine]
kind = "llamacpp"
url = "http://127.0.0.1:9"
"""


def test_an_account_of_ones_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("key").write_text("sk-planted\n", "utf-8")
    Path("nudge.toml").write_text(ACCOUNT + 'key_file = "key"\nrequests_per_minute = 30\n', "utf-8")
    settings = load_config(environ={}).settings

    async def opened() -> str:
        async with open_endpoints(["mine:some-model", "mine@http://127.0.0.1:10"], settings) as (one, other):
            assert other.endpoint == "llamacpp@http://127.0.0.1:10"
            assert one._http._api_key.get_secret_value() == "sk-planted"  # type: ignore[attr-defined]
            assert "planted" not in repr(one) + repr(vars(one)) + repr(settings)
            return one.endpoint

    assert asyncio.run(opened()) == "llamacpp:some-model@http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('key = "sk-planted"', "nudge.toml: providers.mine: a key does not stand in the settings"),
        ('key_env = "sk-planted"', "providers.mine.key_env: that is not the name"),
        ('key_env = "PLANTED"', "providers.mine.key_env: the environment variable that it names is not set"),
        ('key_file = "nowhere"', "providers.mine.key_file: the key file nowhere: No such file"),
        ('key_file = "empty"', "providers.mine.key_file: the key file empty is empty"),
        ('key_file = "broken"', "the key holds characters"),
        ('keyfile = "sk-planted"', "providers.mine.keyfile: unknown setting; did you mean 'key_file'"),
        ("requests_per_minute = 0", "providers.mine.requests_per_minute: input should be greater than 0"),
        ("requests_per_minute = nan", "providers.mine.requests_per_minute"),
    ],
)
def test_bad_accounts(here: Path, lines: str, problem: str) -> None:
    Path("empty").write_text("\n", "utf-8")
    Path("broken").write_bytes(b"sk-planted\xff\x00")
    Path("nudge.toml").write_text(ACCOUNT + lines, "utf-8")

    async def opened() -> None:
        async with open_endpoints(["mine"], load_config(environ={}).settings):
            pass

    with pytest.raises(UsageError, match=problem) as caught:
        asyncio.run(opened())
    assert "planted" not in str(caught.value).lower().replace("key_env", "")


def test_help_tells_the_defaults() -> None:
    fields = Settings.model_fields
    told = {flag[2:].replace("-", "_"): text for flag, _, text in SETTINGS}
    assert set(told) == set(fields) - {"stop", "base_stop", "providers", "prices"}
    for name, text in told.items():
        default = fields[name].default
        if default not in ("", None) and name not in ("base", "nudger"):
            assert f"[default: {default:g}]" in text if isinstance(default, float) else f"[default: {default}]" in text
