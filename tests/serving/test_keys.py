"""Keys: where they come from, what they open, and what is said to whoever has none."""

import hashlib
import hmac
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from openai import AuthenticationError, OpenAI
from typer.testing import CliRunner

from emotion_svc.cli import main
from emotion_svc.config import ConfigError, Settings, load_settings
from emotion_svc.errors import Unauthorized
from emotion_svc.serving.keys import NONE_ON_PURPOSE, Client, Keys, new_key
from emotion_svc.serving.wires import EXAMPLE_TURN

KEY, OTHER = "esk_first", "esk_second"
DIGEST, OTHER_DIGEST = (hashlib.sha256(key.encode()).hexdigest() for key in (KEY, OTHER))
LIST = f"robot:{DIGEST}, ops:{OTHER_DIGEST}:60"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def write(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "keys.toml"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def keys_of(**settings: str) -> Keys:
    keys = Keys.of(load_settings(**settings))
    assert keys is not None
    return keys


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_SVC_KEYS", LIST)
    keys = keys_of()
    assert keys.client(f"Bearer {KEY}".encode()) == Client("robot", None)
    assert keys.client(f"bearer {OTHER}".encode()) == Client("ops", 60)


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    text = f'[robot]\nsha256 = "{DIGEST}"\n\n["ops.eu"]\nsha256 = "{OTHER_DIGEST}"\nrequests_per_minute = 60\n'
    keys = keys_of(keys_file=write(tmp_path, text))
    assert keys.client(f"Bearer {KEY}".encode()) == Client("robot", None)
    assert keys.client(f"Bearer {OTHER}".encode()) == Client("ops.eu", 60)


@pytest.mark.parametrize("key", [KEY, OTHER, "unknown"])
def test_every_key_is_compared_in_constant_time_whichever_fits(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def counting(known: bytes, sent: bytes) -> bool:
        compared.append(known)
        return compare(known, sent)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    with suppress(Unauthorized):
        keys_of(keys=LIST).client(f"Bearer {key}".encode())
    assert compared == [bytes.fromhex(DIGEST), bytes.fromhex(OTHER_DIGEST)]


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", f"Basic {KEY}", KEY, f"Bearer {KEY}x", f"Bearer {KEY.upper()}", f"Bearer {DIGEST}"],
)
def test_what_is_no_known_key_is_refused_with_one_and_the_same_message(authorization: str) -> None:
    with pytest.raises(Unauthorized, match=r"^expected a key that is known, as 'Authorization: Bearer KEY'$"):
        keys_of(keys=LIST).client(authorization.encode())


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o666])
def test_a_file_that_everybody_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match=r"can be read or changed by every user of this machine; chmod o-rwx it"):
        keys_of(keys_file=write(tmp_path, f'[robot]\nsha256 = "{DIGEST}"\n', mode))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected at least one key; make one with: emotion-svc key NAME"),
        (f'robot = "{KEY}"', "robot: expected for each name a table with sha256"),
        (f'[robot]\nkey = "{KEY}"', "robot.sha256: expected for each name a table with sha256"),
        (f'[robot]\nsha256 = "{KEY}"', "robot.sha256: expected"),
        (f'[robot]\nsha256 = "{DIGEST}"\nrequests_per_minute = 0', "robot.requests_per_minute: expected"),
        (f'[robot]\nsha256 = "{DIGEST}"\nper_minute = 5', "robot.per_minute: expected"),
        (f'["the robot"]\nsha256 = "{DIGEST}"', "the name of key 1 has other characters"),
        (f'[a]\nsha256 = "{DIGEST}"\n[b]\nsha256 = "{DIGEST}"', "two names have the same key"),
        (f"[robot]\n{KEY}\n", "is no TOML (at line 2)"),
        ("[robot", "is no TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_without_what_it_holds(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        keys_of(keys_file=write(tmp_path, text))
    assert reason in str(raised.value)
    assert KEY not in str(raised.value)


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'/nowhere\.toml' cannot be read: No such file or directory"):
        keys_of(keys_file="/nowhere.toml")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (KEY, 1),
        (f"robot:{KEY}", 1),
        (f"robot:{DIGEST},ops:{KEY}", 2),
        (f"robot:{DIGEST}:many", 1),
        (f"robot:{DIGEST}:0", 1),
        (f"robot:{DIGEST}:1:1", 1),
        (f"robot:{DIGEST},", 2),
        (f"robot:{DIGEST},robot:{OTHER_DIGEST}", 2),
    ],
)
def test_a_wrong_list_is_refused_with_the_place_and_without_what_it_holds(text: str, place: int) -> None:
    with pytest.raises(ConfigError, match=rf"EMOTION_SVC_KEYS, entry {place}: expected 'name:sha256' or") as raised:
        keys_of(keys=text)
    assert KEY not in str(raised.value)


def test_file_and_environment_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="are both set; give one of them"):
        keys_of(keys=LIST, keys_file=write(tmp_path, ""))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "robot.example"])
def test_where_others_can_connect_keys_are_needed_unless_it_is_said_otherwise(host: str) -> None:
    with pytest.raises(ConfigError, match=r"others .* can connect to .* EMOTION_SVC_KEYS=none-on-purpose"):
        Keys.of(load_settings(host=host))
    assert Keys.of(load_settings(host=host, keys="none-on-purpose")) is None
    assert Keys.of(load_settings(host=host, keys=LIST)) is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_on_loopback_nobody_is_asked(host: str) -> None:
    assert Keys.of(load_settings(host=host)) is None


def test_settings_show_no_keys() -> None:
    assert DIGEST not in repr(Settings(keys=LIST))


def test_a_new_key_opens_and_its_entry_does_not_hold_it() -> None:
    key, entry = new_key()
    assert Keys({"robot": entry}, "test").client(f"Bearer {key}".encode()) == Client("robot", None)
    assert key not in str(entry)
    assert new_key()[0] != key


def test_the_command_makes_an_entry_for_the_file_and_shows_the_key_apart(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["key", "robot", "--requests-per-minute", "60"])
    assert done.exit_code == 0
    key = done.stderr.split()[-1]
    keys = keys_of(keys_file=write(tmp_path, done.stdout))
    assert keys.client(f"Bearer {key}".encode()) == Client("robot", 60)


def test_the_command_refuses_a_name_that_the_file_would_not_take() -> None:
    done = CliRunner().invoke(main, ["key", "the robot"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "other characters than" in done.stderr


def test_without_a_key_a_wire_says_so_in_its_own_language(serve: Callable[..., httpx.Client]) -> None:
    client = serve(keys=LIST)
    native = client.post("/v1/classify", json=EXAMPLE_TURN)
    assert (native.status_code, native.headers["www-authenticate"]) == (401, "Bearer")
    assert native.json()["error"]["kind"] == "invalid_api_key"
    assert native.json()["error"]["retryable"] is False
    openai = client.get("/v1/models", headers=bearer("wrong")).json()["error"]
    assert (openai["type"], openai["code"]) == ("invalid_request_error", "invalid_api_key")


def test_with_a_key_every_wire_answers(serve: Callable[..., httpx.Client]) -> None:
    client = serve(keys=LIST)
    assert client.post("/v1/classify", json=EXAMPLE_TURN, headers=bearer(KEY)).status_code == 200
    assert client.get("/v1/models", headers=bearer(OTHER)).status_code == 200


def test_the_openai_client_sends_its_key(serve: Callable[..., httpx.Client]) -> None:
    url = f"{serve(keys=LIST).base_url}/v1"
    with OpenAI(base_url=url, api_key=KEY, max_retries=0) as openai:
        assert openai.models.list().data
    with OpenAI(base_url=url, api_key="wrong", max_retries=0) as openai, pytest.raises(AuthenticationError) as raised:
        openai.models.list()
    assert raised.value.code == "invalid_api_key"


def test_no_body_is_read_for_whoever_has_no_key(serve: Callable[..., httpx.Client]) -> None:
    client = serve(keys=LIST)
    answer = client.post("/v1/classify", content=b"a" * 2_000_000)
    assert answer.status_code == 401
    assert client.get("/healthz").status_code == 200  # on the same connection


@pytest.mark.parametrize(
    ("cover", "closed"), [("wires", set()), ("all", {"/metrics", "/docs", "/openapi.json"})], ids=["wires", "all"]
)
def test_what_a_key_is_asked_for(serve: Callable[..., httpx.Client], cover: str, closed: set[str]) -> None:
    client = serve(keys=LIST, keys_cover=cover)
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
        assert client.get(path).status_code == (401 if path in closed else 200), path
        assert client.get(path, headers=bearer(KEY)).status_code == 200
    assert client.get("/v1/nowhere").status_code == 401


def test_the_document_says_that_a_key_is_asked_for(serve: Callable[..., httpx.Client]) -> None:
    document = serve(keys=LIST).get("/openapi.json").json()
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["paths"]["/readyz"]["get"]["security"] == []
    assert "security" not in serve().get("/openapi.json").json()


@pytest.mark.parametrize("given", [{}, {"keys": NONE_ON_PURPOSE}])
def test_keys_cannot_cover_all_where_there_are_none(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="EMOTION_SVC_KEYS_COVER=all asks for a key everywhere, and there are none"):
        keys_of(keys_cover="all", **given)
