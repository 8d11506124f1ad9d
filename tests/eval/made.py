"""Turns whose answer is plain to a bag of words: made, not written."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from pydantic import BaseModel

from emotion_svc.schema import Example, ResponseExample
from emotion_svc.taxonomy import FAMILIES, Family

VOICES = ("cậu ơi", "bạn nè", "con à", "em ơi")


def turn(family: Family, voice: str = VOICES[0], *, knows: bool = True, origin: str = "made") -> Example:
    """The response names its family; `learn_score` is true where the child `knows` the word."""
    return Example(
        id=f"{origin}-{family}-{voice}-{knows}",
        previous_question="Con mèo tiếng Anh là gì?",
        previous_answer="cat" if knows else "dog",
        response=f"Pika {family} {voice}.",
        emotion=family,
        learn_score=knows,
        slice="core",
    )


def turns(families: Sequence[Family] = FAMILIES, origin: str = "made") -> list[Example]:
    """Four voices of each family, half of them after a right answer."""
    places = product(families, enumerate(VOICES))
    return [turn(family, voice, knows=place % 2 == 0, origin=origin) for family, (place, voice) in places]


def response(family: Family) -> ResponseExample:
    """A single response that names its family."""
    return ResponseExample(response=f"{family} nha!", emotion=family)


def write(path: Path, rows: Sequence[BaseModel]) -> Path:
    """The rows as JSON Lines, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    return path
