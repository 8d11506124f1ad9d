"""The tokens of a turn as they are counted for OpenAI's clients."""

from hypothesis import example, given
from hypothesis import strategies as st

from emotion_svc.decoding.tokens import FIELD_TOKENS, TurnTokenizer
from emotion_svc.modeldir import SHIPPED
from emotion_svc.prompt import prompt_for
from emotion_svc.schema import Turn
from emotion_svc.text import normalize

TOKENS = TurnTokenizer(SHIPPED / "tokenizer.json", prompt_for("pika-tiny"))
TEXT = st.text(max_size=60).map(normalize)


@given(question=TEXT, answer=TEXT, response=TEXT.filter(bool))
@example(question="Con gì? " * 90, answer="mèo " * 90, response="Giỏi quá! " * 90)
def test_a_turn_has_as_many_tokens_as_it_is_read_with(question: str, answer: str, response: str) -> None:
    turn = Turn(previous_question=question, previous_answer=answer, response=response)
    assert TOKENS.count(turn) == len(TOKENS.encode(turn).ids)


def test_a_long_field_counts_as_what_is_kept_of_it() -> None:
    long = dict.fromkeys(FIELD_TOKENS, "mèo " * 400)
    assert TOKENS.count(Turn(**long)) == TOKENS.count(Turn(**dict.fromkeys(FIELD_TOKENS, "mèo " * 500)))
