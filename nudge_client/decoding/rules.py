"""The settings that the decoder's rules depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Boundary = Literal["word", "token", "rollback"]
Ending = Literal["draft", "word"]
Segmentation = Literal["space", "unicode"]


@dataclass(frozen=True, slots=True)
class Rules:
    """The default decoder's settings (ALGORITHM: the default decoder). Checked where the user's input is read.

    threshold: γ in (0, 1]; the base model is uncertain where its top-1 probability is below it.
    draft_tokens: L_n, tokens in one draft. max_tokens, max_rounds: limits of one answer.
    stop: strings that end the answer, left out of it. base_stop: strings that end a run of the base model.
    """

    threshold: float = 0.3
    draft_tokens: int = 16
    max_tokens: int = 512
    max_rounds: int = 150
    boundary: Boundary = "word"
    ending: Ending = "draft"
    segmentation: Segmentation = "space"
    stop: tuple[str, ...] = ()
    base_stop: tuple[str, ...] = ()
