"""The shortest way to an answer: the embedded pair, no asyncio.

python examples/first_answer.py "Why is the sky blue?"
"""

import sys

from nudge_client import generate

prompt = sys.argv[1] if len(sys.argv) > 1 else "Give me three tips for staying healthy."
answer = generate(prompt, max_tokens=80)

print(answer.text)
print(f"\n{answer.stats.nudge_ratio:.0%} of {answer.stats.answer_tokens} tokens by the nudging model")
