"""Servers that speak a dialect byte for byte over a toy model, with latencies and faults to order.

For tests, and for simulating what a pair of endpoints would cost before anyone rents it. Importing this starts nothing.
"""

from nudge_providers.standins.llamacpp import StandIn
from nudge_providers.standins.quota import Phase, Quota
from nudge_providers.standins.server import PROMPT_END, Latency, ToyServer, served
from nudge_providers.standins.together import TogetherStandIn
from nudge_providers.standins.toys import Model, Written, hashed, toy_pair
from nudge_providers.standins.vllm import VllmStandIn

__all__ = [
    "PROMPT_END",
    "Latency",
    "Model",
    "Phase",
    "Quota",
    "StandIn",
    "TogetherStandIn",
    "ToyServer",
    "VllmStandIn",
    "Written",
    "hashed",
    "served",
    "toy_pair",
]
