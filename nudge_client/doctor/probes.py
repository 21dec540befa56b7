"""The questions. Each looks at what comes back; that a field was accepted proves nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from nudge_client.doctor.findings import Finding
from nudge_providers.errors import CapabilityError, EndpointError, RejectedError
from nudge_providers.types import Completion, CompletionRequest, Message, Provider, StreamEnd, Token

# Plain English that any model goes on with, unsure of the first word.
PROBE = "The old lighthouse keeper opened the door and saw"
KNOWN = "The capital of France is Paris. The capital of Germany is Berlin. The capital of Italy is"
COUNTING, COUNTED = "one two three four five six", "seven"
BOS_TOKENS = ("<bos>", "<s>", "<|begin_of_text|>", "<|endoftext|>")
SPECIAL = ("<|im_end|>", "<|eot_id|>", "<|endoftext|>", "</s>", "<eos>", "<end_of_turn>")

Probe = Callable[[Provider], Awaitable[Finding]]


async def ask(provider: Provider, prompt: str, tokens: int, **options: float) -> Completion:
    """A small request."""
    return await provider.complete(CompletionRequest(prompt, tokens, **options))  # type: ignore[arg-type]


async def logprobs(provider: Provider) -> Finding:
    """Whether completions come with log-probabilities that add up. Nothing works without."""
    try:
        done = await ask(provider, PROBE, 8)
    except CapabilityError as error:
        return Finding("unusable", False, error.message, error.advice)
    if not done.tokens:
        return Finding("unusable", False, "the reply holds no text", "Is this a text model?")
    values = ", ".join(f"{token.logprob:.2f}" for token in done.tokens[:4])
    return Finding("fine", True, f"{len(done.tokens)} tokens spell the reply; first logprobs {values}")


async def max_top_logprobs(provider: Provider) -> Finding:
    """How many of the most probable tokens it lists, of up to 20 asked for."""
    refusals = []
    for asked in (20, 5, 2):
        try:
            done = await ask(provider, PROBE, 1, logprobs=asked)
        except (RejectedError, CapabilityError) as error:
            refusals.append(f"{asked} refused: {error.message}")
            continue
        listed = max((len(token.top) or 1 for token in done.tokens), default=1)
        return Finding("fine", listed, "; ".join([*refusals, f"asked for {asked}, listed {listed}"]))
    return Finding("degraded", 1, "; ".join(refusals), "Only the threshold rule works; it needs no more than one")


async def raw_logprobs(provider: Provider) -> Finding:
    """Whether they are the model's own, or changed by the temperature. Judged on the first position of one prompt."""
    greedy = (await ask(provider, PROBE, 1)).tokens
    try:
        hot = (await ask(provider, PROBE, 1, temperature=2.0)).tokens
    except CapabilityError as error:
        return Finding("degraded", None, error.message, error.advice)
    if not greedy or not hot:
        return Finding("unknown", None, "the model ended at once")
    cold, warm = greedy[0].top_logprob, hot[0].top_logprob
    evidence = f"top-1 logprob {cold:.2f} at temperature 0, {warm:.2f} at 2"
    if cold > -0.2:
        return Finding("unknown", None, f"{evidence}: the model is too sure to tell")
    if abs(cold - warm) < 0.15:
        return Finding("fine", True, evidence)
    return Finding(
        "degraded", False, evidence, "Processed by the server: use temperature 0, where they are the model's own"
    )


async def prompt_logprobs(provider: Provider) -> Finding:
    """Whether a given text can be scored in one call, and gives what the model would have said there."""
    try:
        scored = (await provider.score(KNOWN, " Rome. The capital")).tokens
    except CapabilityError as error:
        return Finding("degraded", False, error.message, "A draft cannot be verified in one call; nothing else is lost")
    written = await ask(provider, KNOWN, 1)
    spelled = "".join(token.text for token in scored)
    if not spelled.endswith("Rome. The capital") or not written.tokens:
        return Finding("degraded", False, f"the scored tokens spell {spelled!r}", "Do not rely on prompt logprobs here")
    evidence = f"scored {scored[0].next_token.text!r} where it writes {written.tokens[0].text!r}"
    same = scored[0].next_token.text == written.tokens[0].text
    return Finding("fine" if same else "degraded", same, evidence, "" if same else "Scores differ from what it writes")


async def streaming_logprobs(provider: Provider) -> Finding:
    """Whether a stream brings the same tokens as a completion, with their log-probabilities."""
    try:
        *items, end = [item async for item in provider.stream(CompletionRequest(PROBE, 8))]
    except EndpointError as error:
        return Finding("degraded", False, error.message, "Answers are fetched in chunks instead")
    tokens = [item for item in items if isinstance(item, Token)]
    whole = (await ask(provider, PROBE, 8)).text
    same = "".join(token.text for token in tokens) == whole
    evidence = f"{len(tokens)} tokens, {'the same text as' if same else 'another text than'} without streaming"
    told = isinstance(end, StreamEnd) and end.usage.completion_tokens > 0
    return Finding("fine" if same else "degraded", True, evidence + ("" if told else "; no usage told"))


async def cancel(provider: Provider) -> Finding:
    """Whether hanging up stops the server: a request after four hung-up streams is timed against one before."""

    async def timed() -> float:
        before = time.perf_counter()
        await ask(provider, PROBE, 4)
        return time.perf_counter() - before

    alone = min([await timed() for _ in range(3)])
    for _ in range(4):
        try:
            async with aclosing(provider.stream(CompletionRequest(PROBE, 160))) as stream:
                async for item in stream:
                    if isinstance(item, Token):
                        break
        except EndpointError as error:
            return Finding("unknown", None, f"it does not stream: {error.message}")
    after = await timed()
    evidence = f"a request took {alone * 1000:.0f} ms, and {after * 1000:.0f} ms right after hanging up on four streams"
    if after < 3 * alone + 0.25:
        return Finding("fine", True, evidence)
    return Finding("degraded", False, evidence, "Hung-up streams run on; keep max_tokens of a stream small")


async def bos(provider: Provider) -> Finding:
    """Whether the model gets the token that its prompts begin with. A base model that misses it writes rubbish.

    Judged on counting: a model that misses its BOS cannot go on with "one two three four five six".
    """
    facts = await provider.capabilities()
    if facts.server_adds_bos:
        return Finding("fine", facts.bos or True, f"the server puts {facts.bos or 'one'} in front of a prompt")
    plain = await ask(provider, COUNTING, 2)
    if plain.text.split()[:1] == [COUNTED]:
        return Finding("fine", False, f"none is added, and none is missed: it goes on with {plain.text!r}")
    for token in dict.fromkeys(filter(None, (facts.bos, *BOS_TOKENS))):
        typed = await ask(provider, token + COUNTING, 2)
        if typed.text.split()[:1] == [COUNTED]:
            evidence = f"after 'one … six' it writes {plain.text!r}, with {token} typed {typed.text!r}"
            return Finding("degraded", False, evidence, f"Type it for a base model: --bos '{token}'")
    return Finding("unknown", None, f"after 'one … six' it writes {plain.text!r}, with and without the usual ones")


async def eos(provider: Provider) -> Finding:
    """Whether the model ends a short answer, and the end leaves no mark in the text."""
    try:
        prompt = await provider.render_chat([Message("user", "Say yes.")])
    except EndpointError:  # it renders no template
        prompt = "Question: Is the sky blue? Answer in one word.\nAnswer:"
    done = await ask(provider, prompt, 96)
    mark = next((mark for mark in SPECIAL if mark in done.text), None)
    if mark:
        return Finding(
            "degraded", done.finish, f"{mark} stands in the text", "Special tokens reach the text; check the template"
        )
    if done.finish == "stop":
        return Finding("fine", "stop", f"ended after {len(done.tokens)} tokens, leaving no mark")
    return Finding(
        "degraded", "length", "ran on to 96 tokens", "Usual for a base model; a nudging model must end by itself"
    )


async def context_length(provider: Provider) -> Finding:
    """Tokens of prompt and answer together."""
    window = (await provider.capabilities()).context_length
    if window is None:
        return Finding("unknown", None, "the server does not tell")
    return Finding("fine", window, "as the server tells it")


async def chat_template(provider: Provider) -> Finding:
    """Whether the server renders the model's chat template, for a nudging model."""
    try:
        prompt = await provider.render_chat([Message("user", "Hi")])
    except CapabilityError as error:
        return Finding("degraded", False, error.message, error.advice)
    except EndpointError as error:
        return Finding("degraded", False, error.message, "For a nudging model, name its family: --chat-template llama3")
    return Finding("fine", True, f"renders {prompt[:60]!r}; a base model's server may do so with a fallback")


async def prefix_cache(provider: Provider) -> Finding:
    """Whether a prompt that was read before is not read again."""
    prompt = f"{KNOWN} " * 6
    first, again = await ask(provider, prompt, 1), await ask(provider, prompt, 1)
    cached, size = again.usage.cached_tokens, again.usage.prompt_tokens
    evidence = (
        f"{cached} of {size} prompt tokens told as cached the second time ({first.usage.cached_tokens} the first)"
    )
    if cached:
        return Finding("fine", True, evidence)
    return Finding(
        "unknown", None, evidence, "Each call may read the whole prompt again; some servers cache without telling"
    )


async def deterministic(provider: Provider) -> Finding:
    """Whether the same greedy request gives the same tokens, and how far their numbers move."""
    runs = [await ask(provider, PROBE, 12) for _ in range(3)]
    texts = {done.text for done in runs}
    moves = [abs(a.logprob - b.logprob) for done in runs[1:] for a, b in zip(runs[0].tokens, done.tokens, strict=False)]
    widest = max(moves, default=math.nan)
    evidence = f"{len(texts)} text{'s' if len(texts) > 1 else ''} in 3 runs; logprobs up to {widest:.3f} apart"
    if len(texts) == 1 and widest < 0.15:
        return Finding("fine", True, evidence)
    return Finding("degraded", False, evidence, "A token near the threshold can flip from run to run")


PROBES: dict[str, Probe] = {
    "logprobs": logprobs,
    "max_top_logprobs": max_top_logprobs,
    "raw_logprobs": raw_logprobs,
    "prompt_logprobs": prompt_logprobs,
    "streaming_logprobs": streaming_logprobs,
    "cancel": cancel,
    "bos": bos,
    "eos": eos,
    "context_length": context_length,
    "chat_template": chat_template,
    "prefix_cache": prefix_cache,
    "deterministic": deterministic,
}
