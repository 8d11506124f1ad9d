"""What a run gives: `bench.json` is a `BenchReport`. All models are frozen; times in milliseconds unless named."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from emotion_svc.bench.subjects import ENGINES, Way


class Frozen(BaseModel):
    """Base of all results."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Percentiles(Frozen):
    """Of latencies, in milliseconds."""

    p50: float
    p95: float
    p99: float


class Point(Frozen):
    """One seat under one load, over all rounds."""

    clients: int
    turns: int = Field(description="Answered turns, over all rounds.")
    latency_ms: Percentiles
    round_p50_ms: list[float] = Field(description="The median of each round: how much the machine drifted.")
    turns_per_s: float
    cpu_ms_per_turn: float = Field(description="CPU time of all processes of the subject, client not counted.")
    overhead_ms: float | None = Field(description="Median of latency less the model's own time, where that is told.")
    first_token_ms: float | None = Field(description="Median, where an answer comes token by token.")
    inter_token_ms: float | None = Field(description="Median over answers of the mean time between two tokens.")
    tokens_per_answer: float | None
    valid: float = Field(description="Share of the answers that are in the answer language.")
    right_family: float = Field(description="Share of the answers with the gold family; an invalid one is wrong.")
    right_learn_score: float = Field(description="Share of the answers with the gold value of learn_score.")
    same_as_embedded: float | None = Field(
        description="Share of the answers with the family and the learn_score of embedded's; None for embedded itself."
    )


class SeatReport(Frozen):
    """One subject, in process or over HTTP."""

    subject: str
    way: Way
    start_ms: float = Field(description="From the start of its process to ready.")
    resident_mb: float = Field(description="The largest resident memory at the end of a round, all its processes.")
    passes: float = Field(description="Turns that it was asked, warm-up counted, over the number of turns.")
    points: list[Point]

    @property
    def title(self) -> str:
        """How it is called in tables and plots."""
        return self.subject if self.way == "process" else f"{self.subject} (HTTP)"


class Machine(Frozen):
    """What it ran on."""

    cpu: str
    cores: int
    memory_gb: float
    python: str
    onnxruntime: str
    load_before: float = Field(description="Load average of the last minute, before the first measurement.")


class Conditions(Frozen):
    """How it was measured."""

    gold: list[str]
    turns: int
    seed: int
    clients: list[int]
    rounds: int
    seconds: float = Field(description="Length of one round of one load.")
    warm_up_s: float = Field(description="Each seat was asked for so long before the first round; not counted.")
    model: str
    model_digest: str


class Peak(Frozen):
    """What this machine can do with one thread, measured."""

    fp32_gflops: float = Field(description="Large MatMul in ONNX Runtime, 10^9 multiplications and additions a second.")
    int8_gops: float = Field(description="The same for the fastest of its products in 8 bits.")
    memory_gb_per_s: float = Field(description="Copying a large array: bytes read and written.")


class Cost(Frozen):
    """Work of one turn: operations (a multiplication and an addition are two) and bytes that must be moved."""

    linear_ops: float
    attention_ops: float
    bytes_moved: float


class Floor(Frozen):
    """The least time that a turn of median length could take on this machine, and what it takes."""

    tokens: int
    cost: Cost
    peak: Peak
    floor_ms: float
    infer_ms: float = Field(description="The embedded engine's time in the model, median at that length.")
    reached: float = Field(description="floor_ms / infer_ms.")


class Slice(Frozen):
    """A part of the time of a turn."""

    name: str
    ms: float


class Profile(Frozen):
    """Where the time of a turn goes; medians, one turn at a time."""

    parts: list[Slice]
    operators: list[Slice] = Field(description="Time by operator of the graph; with ONNX Runtime's profiler on.")


class BatchReport(Frozen):
    """`classify --input`: a whole process, its start counted."""

    turns: int
    seconds: float
    turns_per_s: float
    invalid: int
    right_family: float = Field(description="As of a load.")
    right_learn_score: float


class Growth(Frozen):
    """How one cost grows with one size."""

    what: str
    unit: str
    sizes: list[float]
    cost: list[float]
    note: str

    @property
    def factor(self) -> float:
        """How often the cost of the smallest size the largest costs."""
        return self.cost[-1] / self.cost[0]

    @property
    def size_factor(self) -> float:
        """How often the largest size holds the smallest."""
        return self.sizes[-1] / self.sizes[0]

    @property
    def is_linear_at_most(self) -> bool:
        """Whether the cost grew by no larger a factor than the size."""
        return self.factor <= self.size_factor


class BenchReport(Frozen):
    """All of one run. What was not asked for is None or empty."""

    version: str
    date: str
    machine: Machine
    conditions: Conditions
    seats: list[SeatReport]
    floor: Floor | None = None
    profile: Profile | None = None
    batch: BatchReport | None = None
    growth: list[Growth] = []

    @property
    def summary(self) -> dict[str, Any]:
        """What a program reads off the last line: the medians, and the rest in one figure each."""
        points = [(seat.title, point) for seat in self.seats for point in seat.points]
        return {
            "p50_ms": {f"{title} x{p.clients}": round(p.latency_ms.p50, 3) for title, p in points},
            "p99_ms": {f"{title} x{p.clients}": round(p.latency_ms.p99, 3) for title, p in points},
            "turns_per_s": {f"{title} x{p.clients}": round(p.turns_per_s, 1) for title, p in points},
            "batch_turns_per_s": None if self.batch is None else round(self.batch.turns_per_s, 1),
            "floor_ms": None if self.floor is None else round(self.floor.floor_ms, 3),
            "floor_reached": None if self.floor is None else round(self.floor.reached, 3),
        }

    @property
    def broken_promises(self) -> list[str]:
        """What must never be: one of our engines left the answer language."""
        broken = [
            f"{seat.title} gave invalid answers at {point.clients} clients ({point.valid:.2%} were valid)"
            for seat in self.seats
            for point in seat.points
            if seat.subject in ENGINES and point.valid < 1
        ]
        if self.batch is not None and self.batch.invalid:
            broken.append(f"classify --input gave {self.batch.invalid} invalid lines")
        return broken
