"""Every setting, with its default and its check, in one model. Where values come from is `config`'s business."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nudge_client.decoding import Boundary, Ending, Segmentation
from nudge_client.prompts import Form
from nudge_client.sources.plans import Overlap, PlanName
from nudge_providers.parsing import is_text
from nudge_providers.window import MAXIMUM, START

LOCAL_BASE = "local:gemma-3-270m"
LOCAL_NUDGER = "local:smollm2-135m-instruct"

Preset = Literal["default", "paper"]
# What the paper's method does not have; a value given for one of these together with its preset is a contradiction.
NOT_IN_PAPER = ("plan", "overlap", "boundary", "ending", "segmentation", "stop", "base_stop")

PositiveInt = Annotated[int, Field(ge=1, le=1_000_000)]


class ProviderSettings(BaseModel):
    """One provider's account: the table `[providers.NAME]` of `nudge.toml`. An endpoint's `NAME:model` refers to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field("", description="provider that NAME stands for, if NAME is one of your own")
    url: str = Field("", description="where an endpoint without a url goes")
    key_env: str = Field("", description="environment variable that holds the key")
    key_file: str = Field("", description="file that holds the key")
    requests_per_minute: float | None = Field(None, gt=0, allow_inf_nan=False, description="most requests a minute")
    tokens_per_minute: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="most tokens a minute, prompts and answers together"
    )
    max_concurrency: int = Field(MAXIMUM, ge=1, le=10_000, description="most requests at once")
    start_concurrency: int = Field(START, ge=1, le=10_000, description="requests at once to begin with")

    @model_validator(mode="before")
    @classmethod
    def _no_key(cls, values: Any) -> Any:
        if isinstance(values, dict) and {"key", "api_key", "token", "password"} & values.keys():
            raise ValueError("a key does not stand in the settings; name its variable (key_env) or file (key_file)")
        return values

    @field_validator("key_env")
    @classmethod
    def _variable(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z_]\w*", value):
            raise ValueError("that is not the name of an environment variable; the key itself does not stand here")
        return value


FREE = Fraction(0)


class Price(BaseModel):
    """US dollars for a million tokens. Without `cached`, cached prompt tokens cost what others do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: float = Field(0.0, ge=0, allow_inf_nan=False)
    cached: float | None = Field(None, ge=0, allow_inf_nan=False)
    completion: float = Field(0.0, ge=0, allow_inf_nan=False)

    def of(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> float:
        """Dollars. cached_tokens: part of the prompt's."""
        return float(self.exact(prompt_tokens, cached_tokens, completion_tokens))

    def exact(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> Fraction:
        """The same without rounding, each price taken for the decimal that it is written as."""
        if not (self.prompt or self.cached or self.completion):  # most endpoints of one's own
            return FREE
        fresh, cached, written = (
            _as_written(price)
            for price in (self.prompt, self.prompt if self.cached is None else self.cached, self.completion)
        )
        whole = (prompt_tokens - cached_tokens) * fresh + cached_tokens * cached + completion_tokens * written
        return whole / 1_000_000


@lru_cache(maxsize=64)
def _as_written(price: float) -> Fraction:
    return Fraction(repr(price))


class Settings(BaseModel):
    """Settings of a client. Names are those of flags, `NUDGE_…` variables and `nudge.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    base: str = Field(LOCAL_BASE, description="base model's endpoint, provider:model@url")
    nudger: str = Field(LOCAL_NUDGER, description="nudging model's endpoint, provider:model@url")
    preset: Preset = Field("default", description="'paper' follows the published method chunk for chunk")

    threshold: float = Field(0.3, gt=0, le=1, description="γ: the base model is unsure below this top-1 probability")
    plan: PlanName = Field("auto", description="how tokens are fetched: auto, chunked, streaming or verified")
    overlap: Overlap = Field("eager", description="what is asked early: none, ahead or eager")
    chunk: PositiveInt | None = Field(
        None, description="L: base tokens asked for in one call, where it is not streamed"
    )
    draft: PositiveInt = Field(16, description="L_n: tokens in one draft of the nudging model")
    boundary: Boundary = Field("word", description="where the base model may be cut: word, token or rollback")
    ending: Ending = Field(
        "draft", description="'draft': a draft that ends is the end; 'word': only an immediate end is"
    )
    segmentation: Segmentation = Field("space", description="what a word is: between spaces, or by Unicode (UAX #29)")

    max_tokens: PositiveInt = Field(512, description="limit of one answer, in tokens as the servers list them")
    max_rounds: PositiveInt = Field(150, description="limit of nudges in one answer")
    stop: tuple[str, ...] = Field((), description="strings that end the answer, and are left out of it")
    base_stop: tuple[str, ...] | None = Field(None, description="strings that end a run of the base model; form's own")

    temperature: float = Field(0.0, ge=0, le=10, description="of both models; 0 is greedy")
    nudger_temperature: float | None = Field(None, ge=0, le=10, description="of the nudging model, if different")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus of both models when the temperature is above 0")
    seed: int | None = Field(None, ge=0, lt=2**63, description="makes sampling repeatable on a deterministic endpoint")

    system: str = Field("", description="system message, for both models")
    form: Form = Field("auto", description="base prompt: auto, question, instruction, plain or transcript")
    answer_start: str = Field("", description="put at the end of the base model's prompt")
    bos: str = Field(
        "", description="put in front of the base model's prompt, for a server that adds no BOS of its own"
    )
    chat_template: str = Field(
        "server", description="nudging model's chat template: server, a family's name, a Jinja file"
    )
    timeout: float = Field(
        120.0, gt=0, description="seconds for one request, with all its retries; waiting for limits is not counted"
    )
    prices: dict[Literal["base", "nudger"], Price] = Field(
        default_factory=dict, description="prices: tables [prices.base] and [prices.nudger] of nudge.toml"
    )
    providers: dict[str, ProviderSettings] = Field(
        default_factory=dict, description="accounts: tables [providers.NAME] of nudge.toml"
    )

    @model_validator(mode="before")
    @classmethod
    def _numbers_and_text(cls, values: Any) -> Any:
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, bool):
                raise ValueError(f"{name}: no setting is true or false")
            for text in value if isinstance(value, list | tuple) else (value,):
                if isinstance(text, str) and not is_text(text):
                    raise ValueError(f"{name}: it holds what is no character (undecodable bytes, or half a pair)")
        return values

    @field_validator("stop", "base_stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("stop", "base_stop")
    @classmethod
    def _no_empty_stop(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value and not all(value):
            raise ValueError("a stop string is empty")
        return value

    @field_validator("base", "nudger")
    @classmethod
    def _readable_endpoint(cls, value: str) -> str:
        from nudge_providers.endpoint import parse_endpoint
        from nudge_providers.errors import UsageError

        try:
            parse_endpoint(value)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _paper_is_whole(self) -> Settings:
        given = [name for name in NOT_IN_PAPER if name in self.model_fields_set and getattr(self, name)]
        if self.preset == "paper" and given:
            raise ValueError(f"the paper's method has no {given[0]}; leave it out, or use preset 'default'")
        return self
