"""What an examination finds: one finding a question, and the report of one endpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["fine", "degraded", "unusable", "unknown"]

NAMES = (
    "reachable",
    "authenticated",
    "model",
    "logprobs",
    "max_top_logprobs",
    "raw_logprobs",
    "prompt_logprobs",
    "streaming_logprobs",
    "cancel",
    "bos",
    "eos",
    "context_length",
    "chat_template",
    "prefix_cache",
    "deterministic",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """verdict: how well it will do. value: what was found. evidence: what came back that says so. advice: the mend."""

    verdict: Verdict
    value: Any = None
    evidence: str = ""
    advice: str = ""


@dataclass(slots=True)
class Report:
    """One endpoint. plan: how a base model's tokens are best fetched from it, None when it cannot be used."""

    endpoint: str
    findings: dict[str, Finding] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether it was asked everything that nudging needs, and nothing of that is missing."""
        return "logprobs" in self.findings and all(item.verdict != "unusable" for item in self.findings.values())

    @property
    def plan(self) -> str | None:
        if not self.usable:
            return None
        if self._is_fine("prompt_logprobs"):
            return "verified"
        return "streaming" if self._is_fine("streaming_logprobs") else "chunked"

    def _is_fine(self, name: str) -> bool:
        return name in self.findings and self.findings[name].verdict == "fine"

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON object; what could not be asked is `unknown`."""
        unknown = Finding("unknown", None, "not asked: the endpoint failed before")
        findings = {name: asdict(self.findings.get(name, unknown)) for name in NAMES}
        return {"endpoint": self.endpoint, "usable": self.usable, "plan": self.plan, "findings": findings}
