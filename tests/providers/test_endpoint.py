from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nudge_providers import UsageError
from nudge_providers.completions import CompletionProvider
from nudge_providers.endpoint import EndpointSpec, parse_endpoint
from nudge_providers.registry import make_provider, provider_names


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("local:gemma", EndpointSpec("local", "gemma")),
        ("llamacpp@http://h:1", EndpointSpec("llamacpp", "", "http://h:1")),
        ("llamacpp:a/b:c@d@https://h/v1/", EndpointSpec("llamacpp", "a/b:c@d", "https://h/v1")),
        (" vllm:m@http://[::1]:8000 ", EndpointSpec("vllm", "m", "http://[::1]:8000")),
    ],
)
def test_parse(text: str, spec: EndpointSpec) -> None:
    assert parse_endpoint(text) == spec
    assert parse_endpoint(str(spec)) == spec


@pytest.mark.parametrize("text", ["", ":m", "http://h:1", "a b:m", "x@http://", "x@http://h:port", "x@http://h:99999"])
def test_refused(text: str) -> None:
    with pytest.raises(UsageError, match="provider"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hunter2@h:1",
        "http://me:hunter2@h:port",
        "https://hunter2@h",
        "http://me:pa/hunter2@h:80",
        "HTTP://me:hunter2@h",
        "ftp://me:hunter2@h",
    ],
)
def test_secrets_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_endpoint(f"x@{url}")
    assert "hunter2" not in str(caught.value)


def test_unknown_provider_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'llamacpp'"):
        make_provider(parse_endpoint("lamacpp@http://h:1"))
    assert "llamacpp" in provider_names()


def test_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_API_KEY", "sk-planted")
    provider = make_provider(parse_endpoint("llamacpp@http://h:1"))
    assert "planted" not in repr(provider) + repr(vars(provider)) + provider.endpoint


def test_key_from_a_file_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LLAMA_API_KEY")
    (tmp_path / "key").write_text("sk-planted\n", "utf-8")
    monkeypatch.setenv("LLAMA_API_KEY_FILE", str(tmp_path / "key"))
    provider: Any = make_provider(parse_endpoint("llamacpp@http://h:1"))
    assert provider._http._api_key.get_secret_value() == "sk-planted"
    monkeypatch.setenv("LLAMA_API_KEY_FILE", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match="LLAMA_API_KEY_FILE: the key file .*No such file"):
        make_provider(parse_endpoint("llamacpp@http://h:1"))


@pytest.mark.parametrize("url", ["http://h/?api_key=hunter2", "http://h/#hunter2"])
def test_no_query_in_a_url(url: str) -> None:
    with pytest.raises(UsageError, match="query or fragment") as caught:
        parse_endpoint(f"x@{url}")
    assert "hunter2" not in str(caught.value)


def test_a_key_that_no_header_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_API_KEY", "sk-planted\x07more")
    with pytest.raises(UsageError, match="LLAMA_API_KEY") as caught:
        make_provider(parse_endpoint("llamacpp@http://h:1"))
    assert "planted" not in str(caught.value)
    monkeypatch.setenv("LLAMA_API_KEY", "sk-fine\r\n")
    make_provider(parse_endpoint("llamacpp@http://h:1"))


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("openai:m", "https://api.openai.com/v1/completions"),
        ("fireworks:m", "https://api.fireworks.ai/inference/v1/completions"),
        ("deepinfra:m", "https://api.deepinfra.com/v1/openai/completions"),
        ("openrouter:m", "https://openrouter.ai/api/v1/completions"),
        ("hyperbolic:m", "https://api.hyperbolic.xyz/v1/completions"),
        ("together:m", "https://api.together.xyz/v1/completions"),
        ("sglang:m@http://h:1", "http://h:1/v1/completions"),
        ("vllm@http://h:1/v1/", "http://h:1/v1/completions"),
        ("llama-cpp-python@http://h:1", "http://h:1/v1/completions"),
    ],
)
def test_where_requests_go(endpoint: str, url: str) -> None:
    provider = make_provider(parse_endpoint(endpoint))
    assert isinstance(provider, CompletionProvider)
    assert provider.root + provider._path == url
