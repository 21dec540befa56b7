"""Models behind an openai client of your own: Azure, a gateway, credentials that no environment variable can hold.

    python examples/azure_or_gateway.py

As it stands, both clients reach the embedded pair. For Azure, build them as `openai.AsyncAzureOpenAI` with an
`azure_endpoint`, an `api_version` and an `azure_ad_token_provider`, and give the deployment's name as the model.
"""

import asyncio

from openai import AsyncOpenAI

from nudge_client import NudgeClient
from nudge_client.local import local_urls
from nudge_providers.openai_client import OpenAIClientProvider

BASE, NUDGER = "gemma-3-270m", "smollm2-135m-instruct"


def client(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="of-the-gateway", default_headers={"x-team": "nudgers"})


async def main() -> None:
    async with local_urls([BASE, NUDGER]) as urls, client(urls[BASE]) as one, client(urls[NUDGER]) as other:
        # "openai" where the server is OpenAI's own or Azure's; llama.cpp takes what SGLang does.
        base = OpenAIClientProvider(one, BASE, profile="sglang")
        nudger = OpenAIClientProvider(other, NUDGER, profile="sglang")
        # Such a server renders no chat template, so it is named; the providers and clients stay yours to close.
        async with NudgeClient(base=base, nudger=nudger, chat_template="smollm", max_tokens=60) as nudge:
            answer = await nudge.generate("What is a lighthouse for?")
        await base.aclose()
        await nudger.aclose()
    print(answer.text)
    print(f"\n{base.endpoint}\n{nudger.endpoint}")


asyncio.run(main())
