"""`python -m emotion_svc.train.check`: are the data files what docs/annotation.md says?

Format and labels come with the schema; this adds near duplicates and, with `--noise`, the lines whose label a
cross-validated n-gram model doubts most.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest
from math import ceil
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from emotion_svc.data import read_numbered
from emotion_svc.errors import SetupError
from emotion_svc.schema import Example, ResponseExample
from emotion_svc.taxonomy import FAMILIES, Family

NEAR = 0.8
"""Responses that share this part of their character 4-grams (Jaccard) count as near duplicates."""


class Line(NamedTuple):
    """A response with its place."""

    where: str
    response: str
    family: Family


def read(turns: Iterable[Path], responses: Iterable[Path]) -> list[Line]:
    """All lines of both kinds of file, with their places."""
    lines = [
        Line(f"{path}:{number}", row.response, row.emotion)
        for path in turns
        for number, row in read_numbered(path, Example)
    ]
    return lines + [
        Line(f"{path}:{number}", row.response, row.emotion)
        for path in responses
        for number, row in read_numbered(path, ResponseExample)
    ]


def _grams(text: str, size: int = 4) -> set[str]:
    text = " ".join(text.lower().split())
    return {text[i : i + size] for i in range(max(1, len(text) - size + 1))}


def near_duplicates(lines: Sequence[Line], near: float = NEAR) -> Iterator[tuple[Line, Line, float]]:
    """Pairs of nearly the same responses, with their Jaccard similarity: each line and the three nearest above it.

    Of two sets whose similarity is at least `near`, each has a gram of the other among its own rarest
    `size - ceil(near * size) + 1`, or they would share too few (Bayardo et al. 2007, doi:10.1145/1242572.1242591).
    Only these are looked up; what they find is compared in full.
    """
    grams = [_grams(line.response) for line in lines]
    held = Counter(gram for own in grams for gram in own)
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for number, own in enumerate(grams):
        rarest = sorted(own, key=lambda gram: (held[gram], gram))[: len(own) - ceil(near * len(own) - 1e-9) + 1]
        others = {other for gram in rarest for other in holders[gram]}
        alike = ((len(own & grams[other]) / len(own | grams[other]), -other) for other in others)
        for similarity, other in nlargest(3, (pair for pair in alike if pair[0] >= near)):
            yield lines[number], lines[-other], similarity
        for gram in rarest:
            holders[gram].append(number)


def doubtful(lines: Sequence[Line], folds: int = 5, seed: int = 0) -> list[tuple[Line, Family, float]]:
    """Lines to which a model that did not see them gives another family: the surest doubts first."""
    from emotion_svc.train.baseline import NgramBaseline

    fold = np.random.default_rng(seed).integers(folds, size=len(lines))
    found = []
    for number in range(folds):
        known = [line for line, f in zip(lines, fold, strict=True) if f != number]
        asked = [line for line, f in zip(lines, fold, strict=True) if f == number]
        model = NgramBaseline()
        model.fit_emotion([line.response for line in known], [line.family for line in known])
        for line, row in zip(asked, model.families([line.response for line in asked]), strict=True):
            said = FAMILIES[int(row.argmax())]
            if said != line.family:
                found.append((line, said, float(row.max())))
    return sorted(found, key=lambda item: -item[2])


def check(
    root: Annotated[Path, typer.Argument(help="Directory with turns/ and responses/.")] = Path("train_data"),
    noise: Annotated[int, typer.Option(help="Print this many lines whose label a model doubts.")] = 0,
) -> None:
    """Checks the training files; exits 1 where a line is wrong."""
    try:
        lines = read(sorted((root / "turns").glob("*.jsonl")), sorted((root / "responses").glob("*.jsonl")))
    except SetupError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    pairs = list(near_duplicates(lines))
    for line, other, similarity in pairs:
        typer.echo(f"{line.where}: near duplicate ({similarity:.2f}) of {other.where}")
    if noise:
        doubts = doubtful(lines)
        typer.echo(f"{len(doubts)} of {len(lines)} lines doubted")
        for line, said, sure in doubts[:noise]:
            typer.echo(f"{line.where}: {line.family}, model says {said} ({sure:.0%}): {line.response}")
    counts = Counter(line.family for line in lines)
    typer.echo(f"{len(lines)} lines; " + ", ".join(f"{family} {counts[family]}" for family in FAMILIES))
    if pairs:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(check)
