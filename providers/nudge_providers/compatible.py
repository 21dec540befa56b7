"""Any other OpenAI-compatible server: the shared code, with its differences as data.

None of the hosted APIs could be reached from where this was written: their rows come from their documents (Fireworks,
SGLang: PROVIDERS; the others: their API references), and every reply is checked all the same.
"""

from __future__ import annotations

from nudge_providers.completions import CompletionProvider
from nudge_providers.profile import Profile

PROFILES = {
    profile.name: profile
    for profile in (
        Profile("openai", "https://api.openai.com/v1", "/v1", "OPENAI_API_KEY"),
        Profile(
            "fireworks",
            "https://api.fireworks.ai/inference/v1",
            "/v1",
            "FIREWORKS_API_KEY",
            session_field="user",
            prompt_logprobs=True,
        ),
        Profile("deepinfra", "https://api.deepinfra.com/v1/openai", "", "DEEPINFRA_API_KEY"),
        Profile("openrouter", "https://openrouter.ai/api/v1", "/v1", "OPENROUTER_API_KEY"),
        Profile("hyperbolic", "https://api.hyperbolic.xyz/v1", "/v1", "HYPERBOLIC_API_KEY"),
        Profile("sglang", key_variable="SGLANG_API_KEY", max_logprobs=20, prompt_logprobs=True),
        Profile("llama-cpp-python", needs_model=False, max_logprobs=10, stream_extra={}),
    )
}


class CompatibleProvider(CompletionProvider):
    """A server of one of the `PROFILES`; the subclasses differ in nothing else."""


def _adapter(name: str) -> type[CompletionProvider]:
    profile = PROFILES[name]
    return type(f"{name.title().replace('-', '')}Provider", (CompatibleProvider,), {"profile": profile})


OpenAIProvider = _adapter("openai")
FireworksProvider = _adapter("fireworks")
DeepInfraProvider = _adapter("deepinfra")
OpenRouterProvider = _adapter("openrouter")
HyperbolicProvider = _adapter("hyperbolic")
SGLangProvider = _adapter("sglang")
LlamaCppPythonProvider = _adapter("llama-cpp-python")
