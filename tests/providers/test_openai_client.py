"""The adapter on a caller's own openai client. What it shares with the others runs in test_dialects and test_faults."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import openai
import pytest
from aiohttp import web
from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAsyncHttpxClient

from nudge_providers import (
    AuthenticationError,
    CapabilityError,
    EndpointError,
    MalformedReply,
    RateLimitedError,
    UnavailableError,
    UsageError,
)
from nudge_providers.openai_client import OpenAIClientProvider
from nudge_providers.sdk_transport import SdkTransport, translated
from nudge_providers.standins import StandIn, VllmStandIn
from nudge_providers.types import Token
from tests.providers.test_dialects import ASK, NUDGER, streamed

KEY = "sk-planted"


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    made = await VllmStandIn(NUDGER).start()
    yield made
    await made.stop()


@asynccontextmanager
async def provided(
    url: str, *, deadline: float = 5, profile: str = "sglang", **options: Any
) -> AsyncIterator[OpenAIClientProvider]:
    """An adapter on a client of this configuration."""
    async with AsyncOpenAI(**({"api_key": KEY, "base_url": f"{url}/v1"} | options)) as client:
        provider = OpenAIClientProvider(client, "toy", profile=profile, deadline=deadline)
        yield provider
        await provider.aclose()


def fault(standin: StandIn, status: int, **headers: str) -> list[web.Request]:
    """The stand-in fails from now on; the requests that it sees."""
    seen: list[web.Request] = []

    async def respond(request: web.Request, body: dict[str, Any]) -> web.Response:
        seen.append(request)
        return web.json_response({"error": {"message": "no"}}, status=status, headers=headers)

    standin.fault = respond
    return seen


# What is refused at once


def test_a_synchronous_client_is_refused() -> None:
    with openai.OpenAI(api_key=KEY) as client, pytest.raises(UsageError, match="AsyncOpenAI instead"):
        OpenAIClientProvider(client, "toy")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is a str, not an openai.AsyncOpenAI"):
        OpenAIClientProvider(KEY, "toy")  # type: ignore[arg-type]


async def test_profiles_and_models_are_checked() -> None:
    async with AsyncOpenAI(api_key=KEY) as client:
        with pytest.raises(UsageError, match="did you mean 'fireworks'"):
            OpenAIClientProvider(client, "toy", profile="firework")
        with pytest.raises(UsageError, match="known: openai, fireworks"):
            OpenAIClientProvider(client, "toy", profile="qqq")
        with pytest.raises(UsageError, match="needs a model"):
            OpenAIClientProvider(client, "")
        assert OpenAIClientProvider(client, "", profile="llama-cpp-python").endpoint.startswith(
            "openai-client@https://"
        )


# What is sent, and how often


async def test_the_clients_own_headers_and_key_are_sent(standin: StandIn) -> None:
    seen: list[Any] = []

    async def look(request: web.Request, body: dict[str, Any]) -> None:
        seen.append(request.headers)

    standin.fault = look
    async with provided(standin.url, default_headers={"x-team": "nudgers"}) as provider:
        assert (await provider.complete(ASK)).text
        await streamed(provider, ASK)
    assert [(each["authorization"], each["x-team"]) for each in seen] == [(f"Bearer {KEY}", "nudgers")] * 2
    assert standin.bodies[0]["model"] == "toy"


async def test_the_request_id_is_the_servers(standin: StandIn) -> None:
    fault(standin, 401, **{"x-request-id": "r-7"})
    async with provided(standin.url) as provider:
        with pytest.raises(AuthenticationError, match="HTTP 401, request r-7"):
            await provider.complete(ASK)


async def test_the_sdk_does_not_try_again_by_itself(standin: StandIn) -> None:
    seen = fault(standin, 429, **{"retry-after": "30"})
    async with provided(standin.url, deadline=1, max_retries=7) as provider:
        with pytest.raises(RateLimitedError) as caught:
            await provider.complete(ASK)
        with pytest.raises(RateLimitedError):
            await streamed(provider, ASK)
    assert caught.value.retry_after == 30
    assert len(seen) == 2, "one try a call: the wait it asks for ends after the deadline"
    assert {request.headers["x-stainless-retry-count"] for request in seen} == {"0"}


async def test_an_azure_client_asks_its_deployment() -> None:
    standin = VllmStandIn(NUDGER, name="my-base")
    seen: list[web.Request] = []

    async def deployment(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return await standin._complete(request)

    app = web.Application()
    app.router.add_post("/openai/deployments/{name}/completions", deployment)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with AsyncAzureOpenAI(azure_endpoint=url, api_key=KEY, api_version="2024-10-21") as client:
        provider = OpenAIClientProvider(client, "my-base", profile="sglang", deadline=5)
        assert provider.endpoint == f"openai-client:my-base@{url}"
        done = await provider.complete(ASK)
        tokens, _ = await streamed(provider, ASK)
    assert tokens == list(done.tokens)
    for request in seen:
        assert request.path == "/openai/deployments/my-base/completions"
        assert request.query["api-version"] == "2024-10-21"
        assert request.headers["api-key"] == KEY
    assert len(seen) == 2
    await runner.cleanup()


@pytest.mark.parametrize("http_client", [httpx.AsyncClient, httpx2.AsyncClient, DefaultAsyncHttpxClient])
async def test_whatever_http_client_is_in_the_client(standin: StandIn, http_client: Any) -> None:
    async with provided(standin.url, http_client=http_client()) as provider:
        done = await provider.complete(ASK)
        tokens, _ = await streamed(provider, ASK)
        assert tokens == list(done.tokens)
        fault(standin, 503)
        provider._http.deadline = 0.2
        with pytest.raises(UnavailableError, match="HTTP 503"):
            await provider.complete(ASK)
        await standin.stop()
        with pytest.raises(UnavailableError):
            await provider.complete(ASK)


# Closing


async def test_a_closed_stream_cancels_the_request(standin: StandIn) -> None:
    gone = asyncio.Event()

    async def endless(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        import json

        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"data: {json.dumps(standin.events(body)[0])}\n\n".encode())
        while request.transport and not request.transport.is_closing():
            await asyncio.sleep(0.01)
        gone.set()
        return response

    standin.fault = endless
    async with provided(standin.url) as provider:
        stream = provider.stream(ASK)
        assert isinstance(await anext(stream), Token)
        await stream.aclose()
        async with asyncio.timeout(5):
            await gone.wait()


async def test_the_client_stays_open_and_the_adapter_answers_no_more(standin: StandIn) -> None:
    async with AsyncOpenAI(api_key=KEY, base_url=f"{standin.url}/v1") as client:
        first = OpenAIClientProvider(client, "toy", profile="sglang")
        await first.aclose()
        await first.aclose()
        for streams in (False, True):
            with pytest.raises(UsageError, match="closed"):
                await (streamed(first, ASK) if streams else first.complete(ASK))
        assert not client.is_closed()
        second = OpenAIClientProvider(client, "toy", profile="sglang")
        assert (await second.complete(ASK)).text
    with pytest.raises(UsageError, match="its openai client is closed"):
        await second.complete(ASK)


# What goes wrong before a reply


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with provided(f"http://127.0.0.1:{port}", deadline=0.3) as provider:
        for streams in (False, True):
            with pytest.raises(UnavailableError, match="cannot connect: Connection refused"):
                await (streamed(provider, ASK) if streams else provider.complete(ASK))
    async with provided("http://nobody.invalid", deadline=20) as provider:
        with pytest.raises(UnavailableError, match="cannot connect: no such host"):
            await provider.complete(ASK)


async def test_no_tls_there(standin: StandIn) -> None:
    async with provided(standin.url.replace("http:", "https:"), deadline=30) as provider:
        with pytest.raises(UnavailableError, match="the TLS connection failed"):
            await provider.complete(ASK)


async def test_the_clients_own_timeout_counts(standin: StandIn) -> None:
    async def silent(request: web.Request, body: dict[str, Any]) -> web.StreamResponse | None:
        while request.transport and not request.transport.is_closing():
            await asyncio.sleep(0.01)
        return web.Response()

    standin.fault = silent
    async with provided(standin.url, deadline=0.5, timeout=0.1) as provider:
        for streams in (False, True):
            with pytest.raises(UnavailableError, match="own timeout|no answer within"):
                await (streamed(provider, ASK) if streams else provider.complete(ASK))
    assert len(standin.bodies) > 2, "it is worth another try"


async def test_credentials_that_cannot_be_got_are_the_callers() -> None:
    async def token() -> str:
        raise KeyError(f"vault said {KEY}")

    async with provided("http://127.0.0.1:9", api_key=token) as provider:
        with pytest.raises(UsageError, match=r"could not make the request \(KeyError\)") as caught:
            await provider.complete(ASK)
    assert KEY not in repr(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"base_url": "nonsense"}, UsageError), ({"default_headers": {"x-key": "sk-planted\n"}}, UsageError)],
)
async def test_requests_that_cannot_be_sent(standin: StandIn, options: dict[str, Any], kind: type) -> None:
    async with provided(standin.url, **options) as provider:
        with pytest.raises(kind, match="could not make the request") as caught:
            await provider.complete(ASK)
    assert KEY not in str(caught.value)


async def test_a_body_in_a_broken_encoding(standin: StandIn) -> None:
    async def respond(request: web.Request, body: dict[str, Any]) -> web.Response:
        return web.Response(body=b"{}", headers={"content-encoding": "gzip"})

    standin.fault = respond
    async with provided(standin.url) as provider:
        with pytest.raises(MalformedReply, match="encoding"):
            await provider.complete(ASK)


async def test_get_reads_a_document(standin: StandIn) -> None:
    async with AsyncOpenAI(api_key=KEY, base_url=f"{standin.url}/v1") as client:
        http = SdkTransport("toy", client, deadline=5)
        assert (await http.get("/models")).data["data"][0]["id"] == "toy"


def test_every_error_of_the_http_client_becomes_ours() -> None:
    request = httpx2.Request("POST", f"http://127.0.0.1/?key={KEY}")
    for module in (httpx, httpx2):
        for name in dir(module):
            kind = getattr(module, name)
            if isinstance(kind, type) and issubclass(kind, Exception):
                cause = kind.__new__(kind)
                wrapped = openai.APIConnectionError(request=request)
                wrapped.__cause__ = cause
                for error in (cause, wrapped, openai.APITimeoutError(request=request)):
                    ours = translated(error, "toy")
                    assert isinstance(ours, EndpointError | UsageError)
                    assert KEY not in str(ours)
    assert "TLS" in str(translated(ssl.SSLError(1, KEY), "toy"))


async def test_what_a_profile_cannot_do(standin: StandIn) -> None:
    async with provided(standin.url, profile="openai") as provider:
        with pytest.raises(CapabilityError, match="prompt"):
            await provider.score("a", "b")


# Secrets


async def test_keys_are_shown_nowhere(standin: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    url = standin.url.replace("http://", f"http://user:{KEY}@")
    secret = {"default_headers": {"x-key": KEY}}
    said = ""
    with caplog.at_level("DEBUG"):
        for status in (401, 404, 429, 503, 307):
            fault(standin, status)
            async with provided(url, deadline=0.1, **secret) as provider:
                assert provider.endpoint == f"openai-client:toy@{standin.url}"
                said += repr(provider) + provider.endpoint + repr(vars(provider)) + repr(vars(provider._http))
                for streams in (False, True):
                    with pytest.raises(EndpointError) as caught:
                        await (streamed(provider, ASK) if streams else provider.complete(ASK))
                    said += str(caught.value) + repr(caught.value) + repr(vars(caught.value))
                    assert caught.value.__cause__ is None
        async with provided(f"{standin.url}/{KEY}", base_url=f"{standin.url}/{KEY}/v1?key={KEY}") as provider:
            said += provider.endpoint + repr(provider)
    # Older SDKs, and the HTTP client, log the urls that they are given.
    ours = [
        record for record in caplog.records if record.name.partition(".")[0] not in ("openai", "httpx2", "httpcore2")
    ]
    assert "planted" not in said + "".join(record.getMessage() for record in ours)


def test_only_this_module_imports_the_sdk() -> None:
    code = "import sys, nudge_client.cli.main, nudge_providers.vllm, nudge_providers.compatible; print('openai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
