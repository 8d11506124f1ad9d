"""Prompt files: what they must hold, which model they are for, and that a field stays data."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.decoding.tokens import TurnTokenizer
from emotion_svc.errors import PromptError
from emotion_svc.modeldir import SHIPPED
from emotion_svc.prompt import VARIABLES, Prompt, Segment, load_prompt, prompt_for, prompts_dir
from emotion_svc.schema import Turn
from emotion_svc.taxonomy import FAMILIES
from tests import hostile

TURN = Turn(previous_question="Con mèo?", previous_answer="cat", response="Chính xác!")
FILES = sorted(prompts_dir().glob("*.toml"))
GOOD = {
    "name": '"test"',
    "version": "1",
    "models": '["test-*"]',
    "style": '"chat"',
    "system": '"Judge."',
    "user": '"Q: $previous_question A: ${previous_answer} R: $response for $$5"',
}

hostile_turns = st.builds(Turn, **dict.fromkeys(VARIABLES, st.sampled_from(["x", *hostile.TEXTS])))


def write(path: Path, **changes: str | None) -> Path:
    """A prompt file like `GOOD`; None leaves a key out."""
    path.write_text("\n".join(f"{key} = {value}" for key, value in (GOOD | changes).items() if value is not None))
    return path


def framed(prompt: Prompt, turn: Turn) -> list[Segment]:
    """The user text with the fields' words taken out."""
    return [
        segment if segment.variable is None else Segment("", segment.variable) for segment in prompt.user_segments(turn)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_file_is_good_and_shows_every_field_once(path: Path) -> None:
    prompt = load_prompt(path)
    assert prompt.name == path.stem
    assert sorted(piece.variable for piece in prompt.pieces if piece.variable in VARIABLES) == sorted(VARIABLES)


def test_each_model_gets_the_file_with_the_most_specific_pattern() -> None:
    assert prompt_for("pika-tiny").name == "pika"
    assert prompt_for("HuggingFaceTB/SmolLM2-135M-Instruct").name == "instruct"
    assert prompt_for("Qwen/Qwen3-0.6B").name == "instruct"


def test_the_instruct_prompt_names_every_family() -> None:
    system = prompt_for("Qwen/Qwen3-0.6B").system
    assert [family for family in FAMILIES if family not in system] == []


@pytest.mark.vllm
def test_the_instruct_prompt_has_at_most_200_tokens() -> None:
    """With a tokenizer of 131,000 tokens and with one of 32,000; both come with vLLM, in Mistral's package."""
    package = pytest.importorskip("mistral_common", reason="mistral_common is not installed (make test-vllm)")
    tekken = pytest.importorskip("mistral_common.tokens.tokenizers.tekken")
    sentencepiece = pytest.importorskip("mistral_common.tokens.tokenizers.sentencepiece")
    data = Path(package.__file__).parent / "data"
    system = prompt_for("Qwen/Qwen3-0.6B").system
    for tokenizer in (
        tekken.Tekkenizer.from_file(data / "tekken_240911.json"),
        sentencepiece.SentencePieceTokenizer(data / "tokenizer.model.v1"),
    ):
        assert len(tokenizer.encode(system, bos=False, eos=False)) <= 200


def test_messages_are_the_system_text_and_the_filled_user_text(tmp_path: Path) -> None:
    prompt = load_prompt(write(tmp_path / "test.toml"))
    assert [tuple(message) for message in prompt.messages(TURN)] == [
        ("system", "Judge."),
        ("user", "Q: Con mèo? A: cat R: Chính xác! for $5"),
    ]


@given(hostile_turns)
def test_a_hostile_field_changes_nothing_but_its_own_segment(turn: Turn) -> None:
    for path in FILES:
        prompt = load_prompt(path)
        assert framed(prompt, turn) == framed(prompt, TURN)
        data = {
            segment.variable: segment.text for segment in prompt.user_segments(turn) if segment.variable in VARIABLES
        }
        assert data == turn.model_dump()


@given(hostile_turns)
def test_template_syntax_in_a_field_is_left_as_it_is(turn: Turn) -> None:
    prompt = prompt_for("any")
    _, user = prompt.messages(turn)
    assert user.content == "".join(
        getattr(turn, piece.variable) if piece.variable else piece.text for piece in prompt.pieces
    )


@given(hostile_turns)
def test_a_field_cannot_begin_a_line_of_its_own(turn: Turn) -> None:
    prompt = prompt_for("any")
    _, user = prompt.messages(turn)
    assert [line.split(":")[0] for line in user.content.splitlines()] == [
        "Previous Question", "Previous Answer", "Response to check",
    ]  # fmt: skip


@given(hostile_turns)
def test_no_field_becomes_a_mark_a_label_or_a_piece_of_the_answer(turn: Turn) -> None:
    tokens = TurnTokenizer(SHIPPED / "tokenizer.json", prompt_for("pika-tiny"))
    added = tokens.tokenizer.get_added_tokens_decoder()
    marks = tokens.marks(turn)
    expected = ["<|question|>", "<|answer|>", *marks["comparison"], "<|response|>", *marks["wording"]]
    ids = [token_id for token_id in tokens.encode(turn).ids if token_id in added]
    assert [tokens.tokenizer.id_to_token(token_id) for token_id in ids] == expected


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_missing_variable_is_named(tmp_path: Path, variable: str) -> None:
    user = GOOD["user"].replace("${previous_answer}", "$previous_answer").replace(f"${variable}", "")
    with pytest.raises(PromptError, match=rf"user.*lacks the variable \${variable}$"):
        load_prompt(write(tmp_path / "test.toml", user=user))


def test_an_unknown_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"unknown variable \$answer; known: previous_question"):
        load_prompt(write(tmp_path / "test.toml", user=GOOD["user"].replace("Q:", "$answer")))


@pytest.mark.parametrize("variable", ["comparison", "wording"])
def test_a_chat_prompt_cannot_show_marks_which_are_tokens_of_our_own(tmp_path: Path, variable: str) -> None:
    with pytest.raises(PromptError, match=rf"\${variable} is for the style 'completion'"):
        load_prompt(write(tmp_path / "test.toml", style='"chat"', user=GOOD["user"].replace("Q:", f"${variable}")))


def test_a_dollar_sign_that_begins_no_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"write '\$\$'"):
        load_prompt(write(tmp_path / "test.toml", user=GOOD["user"].replace("$$5", "$5")))


@pytest.mark.parametrize("key", GOOD)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(PromptError, match=key):
        load_prompt(write(tmp_path / "test.toml", **{key: None}))


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="temperature"):
        load_prompt(write(tmp_path / "test.toml", temperature="0.5"))


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "test.toml"
    path.write_text("name = ")
    with pytest.raises(PromptError, match=r"test\.toml' is no valid TOML"):
        load_prompt(path)


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="cannot be read: No such file"):
        load_prompt(tmp_path / "test.toml")


def test_a_model_without_a_prompt_is_told_which_there_are(tmp_path: Path) -> None:
    write(tmp_path / "test.toml")
    with pytest.raises(PromptError, match=r"'other-1'; there are: test \(test-\*\)"):
        prompt_for("other-1", tmp_path)


def test_the_digest_names_what_the_model_reads_and_nothing_else(tmp_path: Path) -> None:
    first = load_prompt(write(tmp_path / "a.toml")).digest
    assert load_prompt(write(tmp_path / "b.toml", name='"other"', models="[]")).digest == first
    assert load_prompt(write(tmp_path / "c.toml", system='"Judge!"')).digest != first
