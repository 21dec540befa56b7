"""How an endpoint is written: `provider:model@url`, of which model and url may be left out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from nudge_providers.errors import UsageError

FORM = "write it as provider:model@url, for example llamacpp@http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """A parsed endpoint. An empty model or url is the provider's default."""

    provider: str
    model: str = ""
    url: str = ""

    def __str__(self) -> str:
        model = f":{self.model}" if self.model else ""
        url = f"@{self.url}" if self.url else ""
        return f"{self.provider}{model}{url}"


def parse_endpoint(text: str) -> EndpointSpec:
    """Read `provider[:model][@url]`. The model may hold `:`, `/` and `@`; the url begins with http:// or https://.

    Raises UsageError when a part cannot be read.
    """
    head, url = text.strip(), ""
    found = re.search(r"@(https?://.*)\Z", head, re.IGNORECASE | re.DOTALL)
    if found:
        head, url = head[: found.start()], found[1]
    provider, _, model = head.partition(":")
    shown = _without_secrets(text)
    if "://" in head or not provider or not provider.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"endpoint {shown!r} does not name a provider; {FORM}")
    return EndpointSpec(provider, model.strip(), _checked_url(url, shown))


def _without_secrets(text: str) -> str:
    """`text` without what may be a user name and password in a url."""
    return re.sub(r"://.*@", "://…@", text, flags=re.DOTALL)


def _checked_url(url: str, shown: str) -> str:
    if not url:
        return ""
    if "@" in url:
        # Not echoed: whatever stands there is a secret.
        raise UsageError("an endpoint's url must not hold a user name or password; put the key into the environment")
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # reading it checks it
        (host or "").encode("idna")
    except ValueError as error:
        raise UsageError(f"endpoint {shown!r} has an unreadable url ({error}); {FORM}") from None
    if not host:
        raise UsageError(f"endpoint {shown!r} has a url without a host; {FORM}")
    if parts.query or parts.fragment:
        raise UsageError("an endpoint's url must not hold a query or fragment; put a key into the environment")
    return url.rstrip("/")
