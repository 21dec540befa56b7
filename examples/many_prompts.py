"""Many prompts from Python: as many answers at once as the endpoints take, each a line of JSON when it is finished.

python examples/many_prompts.py > answers.jsonl

`nudge batch` does the same for a file, and goes on where it stopped; see the README.
"""

import asyncio
import json

from nudge_client import NudgeClient

ROWS = [
    "What is a lighthouse for?",
    {"prompt": "Name a fruit.", "options": {"max_tokens": 10}},  # settings of its own
    {"messages": [{"role": "user", "content": "Name a river."}], "system": "You are brief."},
    "",  # fails, and stops none of the others
]


async def main() -> None:
    async with NudgeClient(max_tokens=30) as nudge:
        async for result in nudge.map(ROWS):
            if result.answer is None:
                print(json.dumps({"index": result.index, "error": str(result.error)}))
            else:
                print(json.dumps({"index": result.index, "text": result.answer.text}))


asyncio.run(main())
