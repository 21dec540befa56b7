"""A prompt as users give it, a string or chat messages, made into checked messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from nudge_providers.errors import UsageError
from nudge_providers.parsing import is_text
from nudge_providers.types import Message

Prompt: TypeAlias = str | Sequence[Message | Mapping[str, Any]]

ROLES = ("system", "user", "assistant")


def as_messages(prompt: Prompt, system: str = "") -> list[Message]:
    """Messages of a conversation that ends with the user.

    prompt: the user's text, or messages as `Message` or `{"role", "content"}`; content is a string or a list of
    `{"type": "text", "text"}` parts. system: put in front, if the messages have no system message of their own.
    Raises UsageError naming the message that is wrong.
    """
    if isinstance(prompt, str):
        messages = [Message("user", prompt)]
    elif isinstance(prompt, Sequence):
        messages = [_message(item, index) for index, item in enumerate(prompt)]
    else:
        raise UsageError("a prompt is a string or a list of messages")
    if system and not any(message.role == "system" for message in messages):
        messages.insert(0, Message("system", system))
    _check_turns(messages)
    return messages


def _message(item: object, index: int) -> Message:
    if isinstance(item, Message):
        item = {"role": item.role, "content": item.content}
    if not isinstance(item, Mapping):
        raise UsageError(f"message {index}: not an object with role and content")
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise UsageError(f"message {index}: unknown role {role!r}; a role is one of: {', '.join(ROLES)}")
    if isinstance(content, list):
        content = "".join(_part(part, index) for part in content)
    if not isinstance(content, str):
        raise UsageError(f"message {index}: content is not text")
    return Message(role, content)


def _part(part: object, index: int) -> str:
    text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise UsageError(f"message {index}: only text parts can be sent to a completion endpoint")
    return text


def _check_turns(messages: Sequence[Message]) -> None:
    turns = [message for message in messages if message.role != "system"]
    if not turns or turns[-1].role != "user":
        raise UsageError("the last message must be the user's: it is what will be answered")
    for index, message in enumerate(messages):
        if not is_text(message.content):
            raise UsageError(
                f"message {index}: it holds what is no character (undecodable bytes, or half a surrogate pair)"
            )
    if not turns[-1].content.strip():
        raise UsageError("the prompt is empty")
    if any(message.role == "system" for message in messages[1:]):
        raise UsageError("a system message must come first")
