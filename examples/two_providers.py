"""Two endpoints of your own, of any two model families, and one question to both alone and together.

    python examples/two_providers.py llamacpp@http://gpu:8080 llamacpp@http://gpu:8081

Without arguments, the embedded pair: two families, two tokenizers.
"""

import asyncio
import sys

from nudge_client import NudgeClient

QUESTION = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": "What is a lighthouse for?"},
]


async def main(base: str, nudger: str) -> None:
    async with NudgeClient(base=base, nudger=nudger, threshold=0.4, max_tokens=60) as nudge:
        answer = await nudge.generate(QUESTION)
    print(answer.text)
    for name, model in (("base", answer.stats.base), ("nudger", answer.stats.nudger)):
        print(
            f"{name:7} {model.requests} requests, {model.prompt_tokens} prompt tokens ({model.cached_tokens} cached), "
            f"{model.completion_tokens} written, {model.discarded_tokens} of them discarded"
        )


if len(sys.argv) == 3:
    asyncio.run(main(sys.argv[1], sys.argv[2]))
else:
    asyncio.run(main("local:gemma-3-270m", "local:smollm2-135m-instruct"))
