"""A provider of one's own: here the model is a plain Python function from text to next token.

    python examples/plain_function.py

Installed in a package with this entry point, it is an endpoint like any other, `nudge run "Hi" --base plain:parrot …`:

    [project.entry-points."nudge_client.providers"]
    plain = "plain_function:PlainFunction"
"""

import math
from collections.abc import AsyncGenerator, Callable, Sequence

from nudge_client import generate
from nudge_providers import (
    Capabilities,
    CapabilityError,
    Completion,
    CompletionRequest,
    Message,
    Scored,
    StreamEnd,
    Token,
    Usage,
)

MARK = "\n"  # every prompt here ends in it, and answers have none
# The text so far -> the next token and its probability, or None at the end.
Model = Callable[[str], tuple[str, float] | None]


def writes(text: str, unsure_of: str = "") -> Model:
    """A model that knows one sentence, and is unsure of one of its words."""
    words = [f" {word}" if index else word for index, word in enumerate(text.split(" "))]
    starts = {"".join(words[:index]): word for index, word in enumerate(words)}
    return lambda so_far: (
        (starts[so_far], 0.1 if starts[so_far].strip() == unsure_of else 0.9) if so_far in starts else None
    )


MODELS = {
    "parrot": writes("Pieces of eight are what every parrot asks for.", unsure_of="parrot"),
    "teacher": writes("Pieces of eight are what every good pupil asks for, as you can see in any book of adventures."),
}


class PlainFunction:
    """Keeps the contract of `nudge_providers.types.Provider`."""

    def __init__(self, *, model: str, url: str = "", api_key: object = None, deadline: float = 120.0) -> None:
        self._model = MODELS[model]
        self.endpoint = f"plain:{model}"

    async def complete(self, request: CompletionRequest) -> Completion:
        text = request.prompt.rpartition(MARK)[2]
        tokens: list[Token] = []
        while len(tokens) < request.max_tokens and (following := self._model(text)):
            logprob = math.log(following[1])
            tokens.append(Token(following[0], logprob, logprob))
            text += following[0]
        usage = Usage(prompt_tokens=len(request.prompt.split()), completion_tokens=len(tokens))
        finish = "length" if len(tokens) == request.max_tokens else "stop"
        return Completion("".join(token.text for token in tokens), tuple(tokens), finish, usage)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Token | Usage | StreamEnd, None]:
        done = await self.complete(request)
        for token in done.tokens:
            yield token
        yield StreamEnd(done.finish, done.usage)

    async def score(self, prompt: str, continuation: str) -> Scored:
        raise CapabilityError("a plain function scores nothing", endpoint=self.endpoint)

    async def render_chat(self, messages: Sequence[Message]) -> str:
        return messages[-1].content + MARK

    async def capabilities(self) -> Capabilities:
        return Capabilities(model=self.endpoint)

    async def aclose(self) -> None:
        pass


if __name__ == "__main__":
    answer = generate("What do parrots say?", base=PlainFunction(model="parrot"), nudger=PlainFunction(model="teacher"))
    for segment in answer.segments:
        print(f"{segment.author:7} {segment.text!r}")
