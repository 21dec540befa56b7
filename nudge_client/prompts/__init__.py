"""How the two models are asked."""

from nudge_client.prompts.base import FORMS, PAPER, BasePrompt, Form, base_prompt
from nudge_client.prompts.chat import FAMILIES, chat_prompt, check_template, render
from nudge_client.prompts.messages import Prompt, as_messages

__all__ = [
    "FAMILIES",
    "FORMS",
    "PAPER",
    "BasePrompt",
    "Form",
    "Prompt",
    "as_messages",
    "base_prompt",
    "chat_prompt",
    "check_template",
    "render",
]
