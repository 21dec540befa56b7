"""How an aligned model is asked: a chat template, the model's own or one of the common families'.

Templates are Jinja, rendered in a sandbox: a template file is data from elsewhere, and may not reach Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from nudge_providers.errors import UsageError
from nudge_providers.parsing import is_text
from nudge_providers.types import Message, Provider

if TYPE_CHECKING:
    from jinja2 import Template

SERVER = "server"
FAMILIES = ("chatml", "gemma", "llama2", "llama3", "mistral", "olmo", "qwen", "smollm", "tulu", "zephyr")


async def chat_prompt(provider: Provider, messages: Sequence[Message], template: str = SERVER) -> str:
    """The nudger's prompt for a conversation.

    template: `server` for the server's own, a family's name (see FAMILIES), or the path of a Jinja file.
    Raises UsageError for a template that cannot be read, parsed or rendered, and the provider's errors.
    """
    if template == SERVER:
        return await provider.render_chat(messages)
    return render(template, messages)


def render(template: str, messages: Sequence[Message]) -> str:
    """`messages` by a family's template or by a file, ready for the assistant's next message."""
    from jinja2 import TemplateError

    source, where = _source(template)
    try:
        text = _compiled(source).render(
            messages=[{"role": message.role, "content": message.content} for message in messages],
            add_generation_prompt=True,
            bos_token="",  # servers put their own BOS in front
            eos_token="",
        )
        if is_text(text):
            return text
        raise UsageError(f"template {where} renders what is no character (half a surrogate pair)")
    except TemplateError as error:
        line = f", line {lineno}" if (lineno := getattr(error, "lineno", None)) else ""
        raise UsageError(f"template {where}{line}: {error.message or 'it cannot be rendered'}") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
        raise UsageError(f"template {where} cannot be rendered: {type(error).__name__} {error}") from None


def check_template(template: str) -> None:
    """Raises UsageError when `template` cannot be read or parsed."""
    if template != SERVER:
        render(template, [Message("user", "")])


def _source(template: str) -> tuple[str, str]:
    if template in FAMILIES:
        return files("nudge_client.prompts").joinpath(f"templates/{template}.jinja").read_text("utf-8"), template
    path = Path(template)
    try:
        return path.read_text("utf-8"), str(path)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        known = ", ".join((SERVER, *FAMILIES))
        raise UsageError(f"template {template!r}: {reason}; give a Jinja file, or one of: {known}") from None


@lru_cache(maxsize=32)
def _compiled(source: str) -> Template:
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # The settings that model templates are written for.
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])

    def raise_exception(message: str) -> None:
        from jinja2 import TemplateError

        raise TemplateError(message)

    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(source)
