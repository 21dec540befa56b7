"""Where settings come from: flags, then environment (`NUDGE_…`), then `nudge.toml`, then defaults."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_config_path
from pydantic import ValidationError

from nudge_client.settings import ProviderSettings, Settings
from nudge_providers.errors import UsageError, printable

PREFIX = "NUDGE_"
FILE = "nudge.toml"
# Variables with the prefix that are no settings.
OTHER_VARIABLES = {"NUDGE_CONFIG", "NUDGE_DEBUG", "NUDGE_STATE_DIR"}


@dataclass(frozen=True, slots=True)
class Layer:
    """Values from one place, and what that place is called for each of them."""

    values: dict[str, Any]
    origins: dict[str, str]


@dataclass(frozen=True, slots=True)
class Config:
    """Checked settings, and for each where its value came from."""

    settings: Settings
    origins: dict[str, str]


def load_config(
    flags: Mapping[str, Any] | None = None,
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Settings from all layers. `flags`: values that were given, by setting name; None stands for not given.

    Raises UsageError naming file or variable, key and fix.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    layers = [
        _file_layer(_find_file(file, environ)),
        _environment_layer(environ),
        Layer(given, {name: f"--{name.replace('_', '-')}" for name in given}),
    ]
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    for layer in layers:
        values |= layer.values
        origins |= layer.origins
    return Config(check_settings(values, origins), origins)


def check_settings(values: Mapping[str, Any], origins: Mapping[str, str] | None = None) -> Settings:
    """`Settings` of `values`. Raises UsageError that says which setting, from where, is wrong, and how."""
    try:
        return Settings(**values)
    except ValidationError as error:
        raise UsageError("; ".join(_explain(problem, origins or {}) for problem in error.errors())) from None


def _explain(problem: Any, origins: Mapping[str, str]) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if name == "providers":
        return _explain_provider(problem, origins)
    text = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, Settings.model_fields, n=1)
        return f"{origins.get(name) or printable(name, 60)}: unknown setting" + (
            f"; did you mean {near[0]!r}?" if near else ""
        )
    if not name:
        return text
    field = Settings.model_fields.get(name)
    means = f" ({field.description})" if field and field.description else ""
    value = problem.get("input")
    # An endpoint's own message quotes what is safe to quote of it.
    shown = f" {printable(repr(value), 80)}:" if name not in ("base", "nudger") else ""
    return f"{origins.get(name) or name}:{shown} {text[:1].lower()}{text[1:]}{means}"


def _explain_provider(problem: Any, origins: Mapping[str, str]) -> str:
    """Values are not quoted: one of them may be a key in the wrong place."""
    where = ".".join(printable(str(step), 60) for step in problem["loc"])
    text = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), ProviderSettings.model_fields, n=1)
        text = "unknown setting" + (f"; did you mean {near[0]!r}?" if near else "")
    source = origins.get("providers", "").removesuffix("providers").rstrip(" :")
    return f"{source + ': ' if source else ''}{where}: {text[:1].lower()}{text[1:]}"


def _find_file(file: Path | None, environ: Mapping[str, str]) -> Path | None:
    named = file or (Path(environ["NUDGE_CONFIG"]) if environ.get("NUDGE_CONFIG") else None)
    if named is not None:
        if not named.is_file():
            problem = "it is not a file" if named.exists() else "no such file"
            raise UsageError(f"config file {named}: {problem}; `nudge config init` writes one")
        return named
    for path in (Path(FILE), user_config_path("nudge") / FILE):
        if path.is_file():
            return path
    return None


def _file_layer(path: Path | None) -> Layer:
    if path is None:
        return Layer({}, {})
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"config file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"config file {path}: it is not UTF-8 text") from None
    except RecursionError:
        raise UsageError(f"config file {path}: it is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"config file {path}: it is not TOML: {error}") from None
    return Layer(values, {name: f"{path}: {printable(name, 60)}" for name in values})


def _environment_layer(environ: Mapping[str, str]) -> Layer:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for variable, text in environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX) and variable not in OTHER_VARIABLES and text != "":
            values[name] = _list_value(variable, text) if name in ("stop", "base_stop") else text
            origins[name] = variable
    return Layer(values, origins)


def _list_value(variable: str, text: str) -> Any:
    """A list in a variable is JSON; anything else is one string."""
    if not text.startswith("["):
        return [text]
    try:
        return json.loads(text)
    except ValueError:
        raise UsageError(f"{variable}: starts like a JSON list, but is none") from None


def commented_toml() -> str:
    """A `nudge.toml` that holds every setting with its meaning and default, all commented out."""
    lines = ["# Settings of nudge-client. A flag or a NUDGE_… variable goes before what stands here.", ""]
    for name, field in Settings.model_fields.items():
        if name in ("providers", "prices"):
            continue
        lines.append(f"# {field.description}")
        # TOML has no null: what has no default is shown with an example of its kind.
        value = (
            {"seed": 1, "chunk": 16, "nudger_temperature": 0.7, "base_stop": []}.get(name)
            if field.default is None
            else field.default
        )
        lines += [f"#{name} = {json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)}", ""]
    lines += [
        "# An account, for endpoints that begin with its name, such as together:MODEL; with `kind`, a name of your own."
    ]
    lines += ["#[providers.together]"]
    examples = {"kind": "vllm", "url": "http://gpu:8000", "key_env": "MY_KEY", "key_file": "~/.keys/together"}
    for name, field in ProviderSettings.model_fields.items():
        lines.append(f"#{name} = {json.dumps(examples.get(name, field.default or 600))}  # {field.description}")
    lines += ["", "# US dollars for a million tokens: the `cost` of `nudge bench`."]
    lines += [f"#{line}" for line in ("[prices.base]", "prompt = 0.9", "cached = 0.45", "completion = 0.9")]
    return "\n".join([*lines, ""])
