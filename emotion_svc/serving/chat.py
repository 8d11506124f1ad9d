"""`POST /v1/chat/completions`: in place of the chat model that the robot's backend calls. The answer is the content."""

import secrets
import time
from typing import Final

from fastapi import APIRouter, Request, Response

from emotion_svc.config import Settings
from emotion_svc.serving.budget import asked_deadline_ms
from emotion_svc.serving.chat_answer import ChatCompletion, ChatUsage, Choice, Message, events
from emotion_svc.serving.chat_request import ChatRequest, chat_request, turn_of_messages
from emotion_svc.serving.direct import DirectRoute
from emotion_svc.serving.documents import inline_schema
from emotion_svc.serving.intake import Intake
from emotion_svc.serving.openai_errors import OPENAI_PROBLEMS, OPENAI_REFUSALS
from emotion_svc.serving.openai_turn import read_object
from emotion_svc.serving.service import Service
from emotion_svc.serving.usage import usage_of
from emotion_svc.serving.wires import takes, timed_answer

EXAMPLE_REQUEST: Final = {
    "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "messages": [
        {"role": "system", "content": "You judge what Pika says."},
        {
            "role": "user",
            "content": "Previous Question: Con mèo tiếng Anh là gì?\nPrevious Answer: cat\n"
            "Response to check: Chính xác, cat đó! Giỏi quá!",
        },
    ],
    "temperature": 0,
    "max_tokens": 32,
}


def chat_wire(service: Service, settings: Settings) -> APIRouter:
    """`/v1/chat/completions`."""
    router = APIRouter(tags=["openai"], route_class=DirectRoute)
    intake = Intake.of(settings)

    @router.post(
        "/v1/chat/completions",
        summary="The same as a chat, as OpenAI's clients and vLLM's speak",
        responses={
            200: {
                "model": ChatCompletion,
                "content": {"text/event-stream": {}},
                "description": "The answer; with `stream`, as server-sent events.",
            },
            **OPENAI_REFUSALS,
            **OPENAI_PROBLEMS,
        },
        openapi_extra=takes(inline_schema(ChatRequest), {"an exercise": EXAMPLE_REQUEST}),
    )
    async def chat(request: Request) -> Response:
        asked = chat_request(read_object(await request.body()))
        service.models.check(asked.model)
        turn = turn_of_messages(intake, asked.messages)
        answered = await service.classify([turn], deadline_ms=asked_deadline_ms(request), model=asked.model)
        [verdict] = answered.verdicts
        completion = ChatCompletion(
            id=f"chatcmpl-{secrets.token_hex(12)}",
            created=int(time.time()),
            model=answered.stand_in or asked.model,
            choices=[Choice(message=Message(content=verdict.answer.model_dump_json()))],
            usage=ChatUsage.of(usage_of(answered.router, turn, verdict.answer)),
            system_fingerprint=verdict.model_digest,
        )
        if asked.stream:
            stream = events(completion, with_usage=asked.includes_usage)
            return timed_answer(stream, answered.slowest, "text/event-stream")
        return timed_answer(completion.model_dump_json(), answered.slowest)

    return router
