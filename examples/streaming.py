"""The answer as it is written, the nudging model's words in green, and why each of them was taken.

python examples/streaming.py "Describe a sunset."
"""

import asyncio
import sys

from nudge_client import NudgeClient

GREEN, PLAIN = "\033[32m", "\033[0m"


async def main(prompt: str) -> None:
    async with NudgeClient(max_tokens=80) as nudge:
        stream = nudge.stream(prompt)
        async for piece in stream:
            text = f"{GREEN}{piece.text}{PLAIN}" if piece.author == "nudger" else piece.text
            print(text, end="", flush=True)
        print("\n")
        for token in stream.answer.tokens[:12]:
            print(f"{token.author:7} {token.text!r:16} {token.reason:12} {token.top_probability:.2f}  {token.request}")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "Describe a sunset."))
