"""What an answer's headers tell a browser, and which pages may ask from one."""

import base64
import hashlib
import re
from collections.abc import Callable

import httpx
import pytest

from emotion_svc.engines.scripted import ScriptedEngine

TURN = {"previous_question": "", "previous_answer": "", "response": "Xin chào!"}
PAGE = "https://page.example"


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/models", "/healthz", "/metrics", "/docs", "/nowhere"])
def test_no_answer_may_be_guessed_kept_or_framed(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["content-security-policy"].startswith("default-src 'none';")
    assert "server" not in headers


def test_refusals_and_defects_have_them_too(serve: Callable[..., httpx.Client]) -> None:
    client = serve(ScriptedEngine({"Xin chào!": RuntimeError()}), keys=f"robot:{hashlib.sha256(b'k').hexdigest()}")
    for key, status in (("wrong", 401), ("k", 500)):
        answer = client.post("/v1/classify", json=TURN, headers={"authorization": f"Bearer {key}"})
        assert (answer.status_code, answer.headers["cache-control"]) == (status, "no-store")


def test_the_docs_page_may_run_its_own_script_and_no_other(client: httpx.Client) -> None:
    page = client.get("/docs")
    [script] = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    directives = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert directives["script-src"] == f"https://cdn.jsdelivr.net 'sha256-{digest}'"
    loaded = re.findall(r'(?:src|href)="(https?://[^/"]+)', page.text)
    assert set(loaded) == {"https://cdn.jsdelivr.net"}


def test_by_default_no_page_of_another_origin_may_ask(client: httpx.Client) -> None:
    asked = {"origin": PAGE, "access-control-request-method": "POST"}
    assert client.options("/v1/classify", headers=asked).status_code == 405
    answer = client.post("/v1/classify", json=TURN, headers={"origin": PAGE})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_pages_that_the_settings_name_may_ask_and_others_may_not(serve: Callable[..., httpx.Client]) -> None:
    client = serve(cors_origins=(PAGE,), keys=f"robot:{hashlib.sha256(b'k').hexdigest()}")
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    allowed = client.options("/v1/classify", headers={"origin": PAGE, **asked})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert client.options("/v1/classify", headers={"origin": "https://evil.example", **asked}).status_code == 400
    for key, status in (("k", 200), ("wrong", 401)):
        answer = client.post("/v1/classify", json=TURN, headers={"origin": PAGE, "authorization": f"Bearer {key}"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, PAGE)
        assert "retry-after" in answer.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize("sent", ["r-1", "0af7651916cd43dd8448eb211c80319c", "a.b:c_d-e", "x" * 64])
def test_an_id_that_the_caller_gives_is_honoured(client: httpx.Client, sent: str) -> None:
    assert client.get("/healthz", headers={"x-request-id": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "two words", "x" * 65, "é", '"', "a/b", "<b>"])
def test_what_is_no_plain_id_is_replaced(client: httpx.Client, sent: str) -> None:
    given = client.get("/healthz", headers=[(b"x-request-id", sent.encode())]).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", given)
