"""The real `openai` client against the OpenAI wires, over a socket."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, BadRequestError, InternalServerError, NotFoundError, OpenAI
from openai.types.decision import AnswerAnswerResourceChoice, AnswerAnswerResourcePredicate
from pydantic import BaseModel

from emotion_svc.data import load_examples
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import Overloaded
from emotion_svc.schema import ALL_ANSWERS, Answer, Turn, Verdict
from tests.paths import EVAL_DATA
from tests.serving.test_chat import LINES, MODEL, TURN
from tests.serving.test_decisions import FACE, FAMILY, RIGHT
