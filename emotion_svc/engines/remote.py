"""Any host that speaks OpenAI's wires, by the `openai` client: a model that runs somewhere else.

What comes back is never trusted. Of a chat host it must be exactly one answer of the answer language; of a decisions
host, a probability for each family and one for `learn_score`. Anything else is an `errors.AnswerRefused`.

What the posteriors mean depends on the host, and none of them was calibrated by us:

- a decisions host gives probabilities; a family's is shared by its labels in equal parts;
- a chat host with log-probabilities (`logprobs` in its preset) gives those of the tokens that it chose and of the
  likeliest others; what cannot go on to an answer is left out, the rest is scaled to 1 (`decoding.spoken`);
- of any other chat host nothing is known but the answer. All probability is on its label and its value, so a
  confidence of 1 says nothing there, and must not be compared with the confidence of another engine.

The family and `learn_score` are chosen from the posteriors, and the animation by the policy, as in every engine
(`decoding.choice`): the same family wears the same face, whoever answered.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import SecretStr

from emotion_svc.decoding.choice import VariantPolicy, choose_label, make_verdict
from emotion_svc.decoding.posterior import Posteriors
from emotion_svc.engines.chat_wire import ChatReader, chat_request
from emotion_svc.engines.decisions_wire import decision_posteriors, decision_usage, decisions_request
from emotion_svc.engines.host_failures import failure_of_status
from emotion_svc.engines.presets import ChatPreset, DecisionsPreset, Preset
from emotion_svc.errors import EngineUnavailable, HostBroken, HostFailed, HostSlow, HostUnreachable, MissingExtra
from emotion_svc.prompt import Prompt, load_prompt, prompts_dir
from emotion_svc.schema import Timings, TokenUsage, Turn, Verdict

if TYPE_CHECKING:
    from openai import AsyncOpenAI

TIMEOUT_S: Final = 20.0
"""How long a host is waited for where nobody gives up sooner; routing does."""

_MAX_CALLS: Final = 32
"""Calls that are under way at the same time; more wait here, and do not use up their time there."""

_LOGGERS: Final = ("openai", "httpx2", "httpcore2")
"""What writes about calls: at DEBUG also the status line and the headers of a host, which may hold anything."""


_NEVER_CONNECTED: Final = {"ConnectError", "ConnectTimeout"}
"""httpx's names for connections that were never made; no host bills those."""


class RemoteEngine:
    """A host as an engine.

    Args:
        preset: the host, its model and how it is asked (`presets.find_preset`).
        key: what the host knows us by; None for one that asks for none.
        variants: which animation of the chosen family is played.
        timeout_s: how long a call may take, waiting for a free place not counted.
        prompts: directory of the prompt files, of which `instruct.toml` is sent; the package's own by default.

    Raises:
        PromptError: that file is missing or wrong.
    """

    name = "remote"
    places = _MAX_CALLS

    def __init__(
        self,
        preset: Preset,
        key: SecretStr | None = None,
        *,
        variants: VariantPolicy = "stable",
        timeout_s: float = TIMEOUT_S,
        prompts: Path | None = None,
    ) -> None:
        self._preset, self._key, self._variants, self._timeout_s = preset, key, variants, timeout_s
        self._client: AsyncOpenAI | None = None
        self._prompt: Prompt = load_prompt((prompts or prompts_dir()) / "instruct.toml")
        self._free = asyncio.Semaphore(_MAX_CALLS)
        self._under_way: set[asyncio.Task[Verdict]] = set()

    @property
    def model_name(self) -> str:
        """The model's name at the host."""
        return self._preset.model

    @property
    def model_digest(self) -> str:
        """16 hex digits for the host's address, the model's name and the prompt: nothing else of it is known."""
        known = (self._preset.wire, self._preset.base_url, self._preset.model, self._prompt.digest)
        return sha256("\0".join(known).encode()).hexdigest()[:16]

    def most_tokens(self, turn: Turn) -> TokenUsage:
        """No call for this turn is billed with more."""
        messages = self._prompt.messages(turn)
        if isinstance(self._preset, DecisionsPreset):
            return _most_tokens(decisions_request(self._preset, messages))
        return _most_tokens(chat_request(self._preset, messages))

    async def start(self) -> None:
        """Makes the client; nobody is called yet.

        Raises:
            MissingExtra: the `openai` package is not installed.
        """
        if find_spec("openai") is None:
            raise MissingExtra("openai", "remote")
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        for logger in _LOGGERS:
            logging.getLogger(logger).setLevel(logging.WARNING)
        client = AsyncOpenAI(
            api_key=self._key.get_secret_value() if self._key else "none",
            base_url=self._preset.base_url,
            max_retries=0,  # who waits how long for whom is for routing to decide
            timeout=None,  # one clock is enough: see `_ask`
            # Wherever a host would send us, the turn does not go there.
            http_client=DefaultAsyncHttpxClient(follow_redirects=False),
        )
        # The client takes them from OPENAI_… variables and would tell them to any host.
        client.organization = client.project = None
        self._client = client

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        """Verdicts for the turns, in the same order; a call for each, at the same time.

        A cancelled call hangs up. Where one turn fails, the others are given up.

        Raises:
            EngineUnavailable: the engine is not started, or closed.
            HostFailed: the host gave no answer; the class says why, and whether to try again.
        """
        if self._client is None:
            raise EngineUnavailable("the remote engine is not started, or closed; call start() on a new one")
        tasks = [asyncio.create_task(self._classify_one(self._client, turn)) for turn in turns]
        self._under_way.update(tasks)
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            self._under_way.difference_update(tasks)

    async def close(self) -> None:
        """Answers what is under way, then closes all connections."""
        client, self._client = self._client, None
        if client is None:
            return
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await client.close()

    async def _classify_one(self, client: "AsyncOpenAI", turn: Turn) -> Verdict:
        arrived = time.perf_counter()
        async with self._free:
            started = time.perf_counter()
            said = await self._ask(client, turn)
        done = time.perf_counter()
        return make_verdict(
            choose_label(turn, said.posteriors, self._variants),
            said.posteriors,
            engine=self.name,
            model_digest=self.model_digest,
            timings=Timings(queue_ms=(started - arrived) * 1e3, infer_ms=(done - started) * 1e3),
        ).model_copy(update={"usage": said.usage})

    async def _ask(self, client: "AsyncOpenAI", turn: Turn) -> "_Said":
        from openai import APIConnectionError, APIStatusError, OpenAIError

        failure: HostFailed
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._call(client, turn)
        except TimeoutError:
            failure = HostSlow(f"{self._host} did not answer within {self._timeout_s:g} s")
        except APIStatusError as error:
            failure = failure_of_status(self._preset, error.status_code, error.response.headers, datetime.now(UTC))
        except APIConnectionError as error:
            reason = type(error.__cause__ or error).__name__
            failure = HostUnreachable(
                f"no connection to {self._host}, or it broke ({reason}); check the address",
                was_sent=reason not in _NEVER_CONNECTED,
            )
        except (OpenAIError, ValueError, RecursionError) as error:
            # An error in the middle of a stream, what is no JSON, or is not what the client takes for a reply.
            failure = HostBroken(f"{self._host} sent what is no reply ({type(error).__name__})")
        raise failure  # outside the handlers: what failed there may hold the turn, or what the host said to it

    async def _call(self, client: "AsyncOpenAI", turn: Turn) -> "_Said":
        messages = self._prompt.messages(turn)
        if isinstance(self._preset, DecisionsPreset):
            request = decisions_request(self._preset, messages)
            decision = _plain(await client.decisions.create(**request))
            usage = self._billed(decision_usage(decision), request)
            return _Said(decision_posteriors(self._preset, decision), usage)
        request = chat_request(self._preset, messages)
        reader = await self._read_chat(client, self._preset, request)
        return _Said(reader.posteriors(), self._billed(reader.usage, request))

    async def _read_chat(self, client: "AsyncOpenAI", preset: ChatPreset, request: dict[str, Any]) -> ChatReader:
        reader = ChatReader(preset)
        if not preset.stream:
            reader.add(_plain(await client.chat.completions.create(**request)))
            return reader
        async with await client.chat.completions.create(**request) as stream:
            async for chunk in stream:
                reader.add(_plain(chunk))
                if reader.is_complete:
                    break  # leaving the stream hangs up, and the host stops
        return reader

    def _billed(self, counted: TokenUsage | None, request: dict[str, Any]) -> TokenUsage | None:
        """What the host counted. Of one that bills tokens and did not say how many: the most that it can have been."""
        return counted if counted is not None or self._preset.price is None else _most_tokens(request)

    @property
    def _host(self) -> str:
        return f"the host of preset '{self._preset.name}'"


class _Said(NamedTuple):
    posteriors: Posteriors
    usage: TokenUsage | None


def _most_tokens(request: Mapping[str, Any]) -> TokenUsage:
    """The most that a host can count: no tokenizer makes more tokens than there are bytes."""
    return TokenUsage(
        prompt_tokens=len(json.dumps(request, ensure_ascii=False).encode()),
        completion_tokens=request.get("max_tokens", 0),
    )


def _plain(reply: Any) -> dict[str, Any]:
    """A reply of the client as plain JSON; empty where the host sent no object.

    Raises:
        ValueError: there is something in it that is no JSON.
    """
    from openai import BaseModel

    return reply.to_dict(mode="json", warnings=False) if isinstance(reply, BaseModel) else {}
