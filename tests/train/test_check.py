"""Near duplicates among the training lines."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.train.check import Line, near_duplicates


def places(responses: list[str], near: float = 0.8) -> list[tuple[int, int]]:
    """The pairs that are found, as the places of their lines."""
    lines = [Line(str(place), response, "happy") for place, response in enumerate(responses)]
    return [(int(line.where), int(other.where)) for line, other, _ in near_duplicates(lines, near)]


def test_a_near_duplicate_is_found_behind_long_lines_that_hold_it_all() -> None:
    short = "Pika vui ghê là vui!"
    long = [
        f"{short} {end}" for end in ("Hôm nay trời đẹp quá chừng.", "Mình đi biển nha cậu.", "Tối nay có phim hay.")
    ]
    assert places([*long, short[:-1], short]) == [(4, 3)]


def test_the_nearest_come_first() -> None:
    response = "Hôm nay tớ với cậu cùng đọc truyện nhé"
    others = [f"{response} ơi nè", f"{response}!", response, f"{response} ơi"]
    assert places([*others, response])[-3:] == [(4, 2), (4, 1), (4, 3)]


@given(st.lists(st.text("abc", min_size=1, max_size=9), max_size=4), st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_no_pair_is_missed(responses: list[str], near: float) -> None:
    def grams(text: str) -> set[str]:
        return {text[i : i + 4] for i in range(max(1, len(text) - 3))}

    sets = [grams(response) for response in responses]
    alike = {
        (b, a) for a, b in combinations(range(len(sets)), 2) if len(sets[a] & sets[b]) / len(sets[a] | sets[b]) >= near
    }
    assert set(places(responses, near)) == alike
