"""The rules of nudging: pure generators, no I/O."""

from nudge_client.decoding.decoder import decode
from nudge_client.decoding.events import (
    Append,
    Ask,
    AskChunk,
    Author,
    Event,
    Finish,
    FinishReason,
    Hint,
    Retract,
    Round,
    Steps,
)
from nudge_client.decoding.holdback import Holdback, Piece
from nudge_client.decoding.paper import PaperRules, decode_paper
from nudge_client.decoding.rules import Boundary, Ending, Rules, Segmentation

__all__ = [
    "Append",
    "Ask",
    "AskChunk",
    "Author",
    "Boundary",
    "Ending",
    "Event",
    "Finish",
    "FinishReason",
    "Hint",
    "Holdback",
    "PaperRules",
    "Piece",
    "Retract",
    "Round",
    "Rules",
    "Segmentation",
    "Steps",
    "decode",
    "decode_paper",
]
