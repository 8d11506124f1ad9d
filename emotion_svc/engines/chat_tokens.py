"""A turn as the token ids that a chat model reads: its own chat template around the prompt, the fields as data.

The template is rendered once, with marks where the fields go. What stands between the marks is tokenized with
the template's special tokens; a field is tokenized without any, so a role marker inside it is plain text.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from tokenizers import Tokenizer

from emotion_svc.decoding.tokens import FIELD_TOKENS, Encoded, cut
from emotion_svc.errors import ModelError, PromptError
from emotion_svc.prompt import VARIABLES, Prompt
from emotion_svc.schema import Turn

_MARK: Final = "\ue000{}\ue001"  # private-use characters: no prompt has them, and no turn (`text.normalize`)
_MARKED: Final = re.compile(_MARK.format(r"(\w+)"))


class ChatTokenizer:
    """Turns to token ids for one chat model and one prompt.

    Args:
        tokenizer: the model's tokenizer as transformers loads it, with its chat template; a model without one
            reads plain text.
        prompt: the prompt file; its style does not matter.
        room: the tokens that a whole prompt may have. The fields share what our own text leaves, in the
            proportions of `tokens.FIELD_TOKENS`.

    Raises:
        PromptError: the chat template drops or repeats a field, or drops the system text.
        ModelError: hardly any room is left for the fields.
    """

    def __init__(self, tokenizer: Any, prompt: Prompt, room: int) -> None:
        own: Tokenizer = tokenizer.backend_tokenizer
        self._added = set(own.get_added_tokens_decoder())
        self._field_tokenizer: Tokenizer = Tokenizer.from_str(
            json.dumps(json.loads(own.to_str()) | {"added_tokens": []})
        )
        *texts, end = _pieces(tokenizer, prompt)
        self._start: list[int] = _start_of_text(tokenizer)
        self._plan: list[tuple[list[int], str, str]] = []
        for text, variable in texts:
            # A word is one token together with the space before it, so that space is the field's.
            space = " " if text.endswith(" ") else ""
            ids = own.encode(text.removesuffix(space), add_special_tokens=False).ids
            self._plan.append((list(ids), variable, space))
        self._end: list[int] = list(own.encode(end[0], add_special_tokens=False).ids)
        left = room - len(self._start) - sum(len(ids) for ids, _, _ in self._plan) - len(self._end)
        if left < sum(FIELD_TOKENS.values()) // 4:
            raise ModelError(
                f"the prompt '{prompt.name}' leaves {left} of {room} tokens for the turn; use a model with a larger "
                "window or a shorter prompt"
            )
        self._limits = {name: left * tokens // sum(FIELD_TOKENS.values()) for name, tokens in FIELD_TOKENS.items()}

    def encode(self, turn: Turn) -> Encoded:
        """The whole prompt, up to where the model's answer begins."""
        ids, truncated = list(self._start), False
        for own, variable, space in self._plan:
            field, was_cut = cut(self._field_ids(getattr(turn, variable), space), self._limits[variable])
            ids += own + field
            truncated |= was_cut
        return Encoded(ids + self._end, truncated)

    def _field_ids(self, text: str, space: str) -> list[int]:
        if not text:
            return []
        ids = self._field_tokenizer.encode(space + text, add_special_tokens=False).ids
        # Some models have their special tokens among the pieces of text, too.
        return [token_id for token_id in ids if token_id not in self._added]


def _pieces(tokenizer: Any, prompt: Prompt) -> Sequence[tuple[str, str]]:
    """The rendered prompt as (our own text, the field that follows it); the last has no field."""
    user = "".join(_MARK.format(piece.variable) if piece.variable else piece.text for piece in prompt.pieces)
    parts = _MARKED.split(_render(tokenizer, prompt.system, user))
    if sorted(parts[1::2]) != sorted(VARIABLES):
        raise PromptError(
            f"the chat template of the model shows the fields {', '.join(parts[1::2]) or 'none'}; expected each of "
            f"{', '.join(VARIABLES)} once (prompt '{prompt.name}')"
        )
    return list(zip(parts[::2], [*parts[1::2], ""], strict=True))


def _render(tokenizer: Any, system: str, user: str) -> str:
    if tokenizer.chat_template is None:
        return f"{system}\n\n{user}\n\nAnswer:\n"
    from jinja2 import TemplateError

    two_roles = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    one_role = [{"role": "user", "content": f"{system}\n\n{user}"}]
    for messages in (two_roles, one_role):
        try:
            # enable_thinking is for models that would reason first (Qwen3); other templates do not look at it.
            text: str = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        except TemplateError:  # a template may refuse the system role (Gemma's does) or leave it out
            continue
        if system in text:
            return text
    raise PromptError("the chat template of the model does not show the system text; use a model with another one")


def _start_of_text(tokenizer: Any) -> list[int]:
    """The start token of plain text, where the model has one; a chat template writes its own."""
    if tokenizer.chat_template is not None or tokenizer.bos_token_id is None:
        return []
    return [tokenizer.bos_token_id] if tokenizer("").input_ids[:1] == [tokenizer.bos_token_id] else []
