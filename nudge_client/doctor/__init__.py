"""What an endpoint can do, found out with a handful of small requests before anyone trusts it."""

from __future__ import annotations

import time

from nudge_client.doctor.findings import NAMES, Finding, Report
from nudge_client.doctor.probes import PROBE, PROBES
from nudge_providers.errors import AuthenticationError, EndpointError, NotFoundError, UnavailableError
from nudge_providers.types import CompletionRequest, Provider

__all__ = ["NAMES", "Finding", "Report", "examine"]


async def examine(provider: Provider) -> Report:
    """Examine one endpoint. Raises nothing that the endpoint did: what failed is in the report."""
    report = Report(provider.endpoint)
    if not await _greet(provider, report.findings):
        return report
    for name, probe in PROBES.items():
        try:
            finding = await probe(provider)
        except EndpointError as error:
            needed = name == "logprobs"
            finding = Finding("unusable" if needed else "unknown", None, error.message, error.advice)
        report.findings[name] = finding
        if finding.verdict == "unusable":
            break
    return report


async def _greet(provider: Provider, findings: dict[str, Finding]) -> bool:
    """Reachable, allowed, and serving the model: nothing else can be asked before."""
    before = time.perf_counter()
    try:
        facts = await provider.capabilities()
        first = time.perf_counter() - before
        before = time.perf_counter()
        await provider.complete(CompletionRequest(PROBE, 1))
        later = time.perf_counter() - before
    except AuthenticationError as error:
        findings["reachable"] = Finding("fine", True, "it answers")
        findings["authenticated"] = Finding("unusable", False, str(error), error.advice)
        return False
    except NotFoundError as error:
        findings["reachable"] = Finding("fine", True, "it answers")
        findings["model"] = Finding("unusable", None, error.message, error.advice)
        return False
    except UnavailableError as error:
        findings["reachable"] = Finding("unusable", False, error.message, error.advice)
        return False
    except EndpointError as error:
        findings["reachable"] = Finding("fine", True, "it answers")
        kind = "logprobs" if "log-probabilities" in error.message else "model"
        findings[kind] = Finding("unusable", None, error.message, error.advice)
        return False
    findings["reachable"] = Finding("fine", True, f"first look {first * 1000:.0f} ms, a token {later * 1000:.0f} ms")
    findings["authenticated"] = Finding("fine", True, "no request was refused")
    findings["model"] = Finding(
        "fine", facts.model, "served under this name" if facts.model else "the server names none"
    )
    return True
