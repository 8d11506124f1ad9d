"""The callers for Locust (https://docs.locust.io), which `python -m tests.reliability.load` starts.

`Hurried` asks single turns, `Mixed` all wires. The service shares its cores with what runs here, so it is kept cheap:
one process, geventhttpclient, one look at each answer.
"""

import itertools
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from emotion_svc.schema import ALL_ANSWERS
from emotion_svc.taxonomy import LABELS

BATCH: Final = 8
REPEATED: Final = 0.25
"""The share of turns that were asked before, in a mixed load."""

_MODEL: Final = "HuggingFaceTB/SmolLM2-135M-Instruct"
_SYSTEM: Final = "You are an emotion classifier for a robot. Answer in JSON with emotion and learn_score. " * 10
_QUESTIONS: Final = [
    {
        "type": "choice",
        "name": "emotion",
        "instructions": "Which face?",
        "choices": [{"value": label} for label in LABELS],
    },
    {"type": "predicate", "name": "learn_score", "instructions": "The child is right."},
]
_VALID: Final = frozenset(ALL_ANSWERS)

Turn = dict[str, str]


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--period", type=float, default=0.0, help="Seconds from one request of a user to its next.")
    parser.add_argument("--turns", type=Path, help="Turns as JSON Lines.")
    parser.add_argument("--name", default="", help="Makes turns that were not asked under another name.")
    parser.add_argument("--record", type=Path, help="Where to write what became of the requests.")


class Record:
    """What became of the requests, by wire."""

    def __init__(self) -> None:
        self.shots: dict[str, list[tuple[int, float]]] = defaultdict(list)
        """Status and milliseconds, in the order in which they ended; status 0 where nothing came."""
        self.invalid: dict[str, int] = defaultdict(int)
        self.late_ms: list[float] = []
        """How much later than they were due requests with a period went out."""
        self._began = self._ended = time.monotonic()
        self._cpu_s = time.process_time()

    def saw(self, wire: str, status: int, ms: float, *, is_valid: bool) -> None:
        """A request ended."""
        self._ended = time.monotonic()
        self.shots[wire].append((status, ms))
        self.invalid[wire] += not is_valid

    def as_fields(self) -> dict[str, Any]:
        """All of it, and what it cost to generate."""
        spent = {"seconds": self._ended - self._began, "cpu_s": time.process_time() - self._cpu_s}
        return {**spent, "shots": self.shots, "invalid": self.invalid, "late_ms": self.late_ms}


class Turns:
    """Turns that were never asked before: gold turns, each response with a number of its own behind it."""

    def __init__(self, file: Path, name: str) -> None:
        lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        names = ("previous_question", "previous_answer", "response")
        self._turns: list[Turn] = [{name: line[name] for name in names} for line in lines]
        self._numbers = itertools.count()
        self._name = name

    def new(self) -> Turn:
        """One that is new."""
        turn = random.choice(self._turns)
        return turn | {"response": f"{turn['response']} {self._name}{next(self._numbers)}"}

    def any(self) -> Turn:
        """One that may be new."""
        return random.choice(self._turns) if random.random() < REPEATED else self.new()


record: Record
turns: Turns


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _begin(environment: Environment, **_: object) -> None:
    global record, turns  # Locust makes the users, so this is how they are given something
    options = environment.parsed_options
    assert options is not None
    random.seed(options.name)
    record, turns = Record(), Turns(options.turns, options.name)


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _write(environment: Environment, **_: object) -> None:
    assert environment.parsed_options is not None
    environment.parsed_options.record.write_text(json.dumps(record.as_fields()), encoding="utf-8")


class Caller(FastHttpUser):
    """Asks at its own pace; with a period, what is overdue goes out at once."""

    abstract = True

    def on_start(self) -> None:
        """Begins somewhere in the first period, so that not all ask in the same moment."""
        assert self.environment.parsed_options is not None
        self._period: float = self.environment.parsed_options.period
        time.sleep(random.random() * self._period)  # Locust has made it one that lets the others go on
        self._due = time.perf_counter()

    def wait_time(self) -> float:
        """Until the next request is due."""
        self._due += self._period
        return max(0.0, self._due - time.perf_counter())

    def _ask(self, wire: str, fields: dict[str, Any], is_valid: Callable[[str], bool], path: str = "") -> None:
        body = json.dumps(fields, ensure_ascii=False)
        headers = {"content-type": "application/json"}
        if self._period:
            record.late_ms.append(max(0.0, time.perf_counter() - self._due) * 1e3)
        with self.client.post(path or wire, data=body, headers=headers, name=wire, catch_response=True) as response:
            was_valid = response.status_code != 200 or is_valid(response.text)
            record.saw(wire, response.status_code, response.request_meta["response_time"], is_valid=was_valid)
            response.success()  # what is a failure, the reader of the record says


class Hurried(Caller):
    """Single turns, all of them new."""

    @task
    def classify(self) -> None:
        """The native wire."""
        self._ask("/v1/classify", turns.new(), _VALID.__contains__)


class Mixed(Caller):
    """All wires, as a fleet of robots with old and new software may ask."""

    @task(10)
    def classify(self) -> None:
        """The native wire."""
        self._ask("/v1/classify", turns.any(), _VALID.__contains__)

    @task(2)
    def batch(self) -> None:
        """Several turns."""
        self._ask("/v1/classify/batch", {"turns": [turns.any() for _ in range(BATCH)]}, _is_batch)

    @task(4)
    def chat(self) -> None:
        """The drop-in."""
        self._ask("/v1/chat/completions", _chat(turns.any()), _is_completion)

    @task(2)
    def stream(self) -> None:
        """The drop-in, as events."""
        fields = _chat(turns.any()) | {"stream": True}
        self._ask("stream", fields, _is_stream, path="/v1/chat/completions")

    @task(2)
    def decisions(self) -> None:
        """Both questions."""
        fields = {"model": _MODEL, "input": _lines(turns.any()), "questions": _QUESTIONS}
        self._ask("/v1/decisions", fields, _is_decision)


def _lines(turn: Turn) -> str:
    return (
        f"Previous Question: {turn['previous_question']}\nPrevious Answer: {turn['previous_answer']}\n"
        f"Response to check: {turn['response']}"
    )


def _chat(turn: Turn) -> dict[str, Any]:
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _lines(turn)}]
    return {"model": _MODEL, "messages": messages, "temperature": 0, "max_tokens": 50, "stop": ["}"]}


def _is_batch(text: str) -> bool:
    answers = json.loads(text)["answers"]
    return len(answers) == BATCH and all(json.dumps(answer, separators=(",", ":")) in _VALID for answer in answers)


def _is_completion(text: str) -> bool:
    return json.loads(text)["choices"][0]["message"]["content"] in _VALID


def _is_stream(text: str) -> bool:
    *events, done = [line.removeprefix("data: ") for line in text.splitlines() if line]
    pieces = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events]
    return done == "[DONE]" and "".join(pieces) in _VALID


def _is_decision(text: str) -> bool:
    face, right = json.loads(text)["answers"]
    return face["choice"] in LABELS and 0 <= right["probability"] <= 1
