"""A page in its frame: nothing is fetched, nothing runs, and it opens from disk."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, *, title: str, style: str | None = None, **values: Any) -> str:
    """The page as HTML text; every value in it is escaped.

    template: a file of this package that extends `pages/frame.html.jinja`. style: one with rules of the page's own,
    which follow those of the frame.
    """
    rules = "".join(_file(name) for name in ("pages/frame.css", style) if name)
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_file),
    )
    return environment.get_template(template).render(
        policy=_policy(rules),
        style=Markup(rules),  # noqa: S704 - our own files
        title=title,
        **values,
    )


def _file(name: str) -> str:
    # Line ends as a browser reads them, or the style would not have the hash below.
    return files("nudge_client").joinpath(name).read_text("utf-8").replace("\r\n", "\n")


def _policy(style: str) -> str:
    """Forbids every request and every script, and any style but this page's own."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
