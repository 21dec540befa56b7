"""A bench result as the bench gives it, made up."""

from __future__ import annotations

import random
from typing import Any

SIMULATED = {
    "profile": "hosted-70b",
    "latencies": {"round_trip_ms": 40, "base_first_ms": 60, "base_token_ms": 20, "nudger_first_ms": 25, "nudger_token_ms": 5, "prompt_token_ms": 0.1},
    "nudge_ratio": 0.12,
    "draft_agreement": 0.83,
}  # fmt: skip
PRICES = {
    "base": {"prompt": 0.9, "cached": 0.1, "completion": 0.9},
    "nudger": {"prompt": 0.2, "cached": 0.02, "completion": 0.2},
}
# times the base's, seconds to the first word, requests, prompt, cached, completion, discarded
COSTS: dict[str, tuple[float, float, float, float, float, float, float | None]] = {
    "base only": (1.0, 0.12, 1, 60, 0, 128, None),
    "nudger only": (0.31, 0.07, 1, 60, 0, 128, None),
    "paper": (10.4, 0.61, 58.4, 7100, 5200, 920, 0.72),
    "chunked": (1.61, 0.44, 23.2, 2900, 2300, 190, 0.31),
    "streaming": (1.24, 0.17, 22, 2800, 2200, 171, 0.22),
    "verified": (1.12, 0.19, 14, 2100, 1700, 160, 0.18),
    "auto": (1.13, 0.18, 14.4, 2100, 1690, 161, 0.18),
    "ensemble": (14.2, 0.22, 256, 31000, 29000, 256, 0.0),
    "proxy tuning": (16.8, 0.25, 384, 46000, 44000, 384, 0.0),
}


def spread(value: float | None, by: float = 0.06) -> dict[str, float | None]:
    if value is None:
        return {"median": None, "low": None, "high": None}
    return {"median": value, "low": value * (1 - by), "high": value * (1 + by * 1.5)}


def same(value: float | None) -> dict[str, float | None]:
    return {"median": value, "low": value, "high": value}


def method(name: str) -> dict[str, Any]:
    ratio, first, requests, prompt, cached, completion, discarded = COSTS[name]
    nudged = name not in ("base only", "nudger only")
    return {
        "seconds_per_answer": spread(2.61 * ratio),
        "seconds_per_token": spread(0.0204 * ratio),
        "ratio_to_base": spread(ratio, 0.02 if name == "base only" else 0.06),
        "first_token_seconds": spread(first, 0.1),
        "requests": same(requests),
        "prompt_tokens": same(prompt),
        "cached_tokens": same(cached),
        "completion_tokens": same(completion),
        "discarded_tokens": same(None if discarded is None else completion * discarded),
        "discarded_ratio": spread(discarded),
        "discarded_bound": same(discarded and discarded + 0.04),
        "nudge_ratio": spread(0.118 if nudged else None),
        "billed_per_token": same((prompt + completion) / 128),
        "answer_tokens": same(128),
        "verified_ratio": same(0.83 if name in ("verified", "auto") else None),
        "cost": spread((prompt + completion) * 0.9e-6),
    }


def timeline(name: str) -> dict[str, Any]:
    """Turns of a base request and a nudge, until the time is used up."""
    chance, requests, now = random.Random(name), [], 0.02
    seconds = 2.61 * COSTS[name][0]
    while name not in ("base only", "nudger only") and now < seconds - 0.4:
        end = min(now + 0.1 + 16 * 0.012, seconds)
        used = chance.randint(3, 16)
        requests.append(
            {
                "author": "base",
                "kind": "stream",
                "start": now,
                "first": now + 0.1,
                "end": end,
                "tokens": 16,
                "used": used,
                "speculative": False,
            }
        )
        if name in ("streaming", "verified", "auto"):
            requests.append(
                {
                    "author": "base",
                    "kind": "complete",
                    "start": end - 0.06,
                    "first": end + 0.04,
                    "end": end + 0.2,
                    "tokens": 16,
                    "used": chance.choice([0, 16]),
                    "speculative": True,
                }
            )
        requests.append(
            {
                "author": "nudger",
                "kind": "score" if name == "verified" else "complete",
                "start": end,
                "first": end + 0.06,
                "end": end + 0.09,
                "tokens": 3,
                "used": 3,
                "speculative": False,
            }
        )
        now = end + 0.1
    if not requests:
        author = name.split()[0]
        requests.append(
            {
                "author": author,
                "kind": "stream",
                "start": 0.02,
                "first": 0.12,
                "end": seconds,
                "tokens": 128,
                "used": 128,
                "speculative": False,
            }
        )
    return {"seconds": seconds, "requests": requests}


def bound(chunk: int, ratio: float) -> float:
    return chunk * ratio / (1 - ratio + chunk * ratio)


def example(*names: str, simulated: bool = False, prices: bool = False) -> dict[str, Any]:
    """The result for these methods, every one without any."""
    names = names or tuple(COSTS)
    return {
        "setting": {
            "base": "local:gemma-3-270m", "nudger": "local:smollm2-135m-instruct", "prompts": 20, "repeats": 5, "max_tokens": 128,
            "threshold": 0.3, "chunk": 16, "draft": 16, "simulated": SIMULATED if simulated else None, "prices": PRICES if prices else None,
        },
        "methods": {name: method(name) for name in names},
        "discarded": [
            {"chunk": chunk, "discarded_ratio": bound(chunk, 0.12) * 0.85, "bound": bound(chunk, ratio)}
            for chunk, ratio in ((2, 0.12), (4, 0.118), (8, 0.122), (16, 0.12), (32, 0.125), (64, 0.119))
        ],
        "timelines": {name: timeline(name) for name in names},
    }  # fmt: skip
