"""A file that somebody wrote is read, or refused in one line that says where and what."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from emotion_svc.errors import SetupError
from emotion_svc.files import read_settings


class Inner(BaseModel):
    count: int


class Kind(BaseModel):
    model_config = ConfigDict(extra="forbid")

    inner: Inner


def read(path: Path) -> Kind:
    return read_settings(path, Kind, "some file", SetupError, "write one")


def test_what_fits_is_read(tmp_path: Path) -> None:
    (tmp_path / "some.toml").write_text("[inner]\ncount = 3\n")
    assert read(tmp_path / "some.toml").inner.count == 3


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[inner]\ncount = 'secret'\n", "inner.count: Input should be a valid integer"),
        (b"[inner]\ncount = 3\n[outer]\n", "outer: Extra inputs are not permitted"),
        (b"", "inner: Field required"),
        (b"[inner", "is no valid TOML: "),
        (b"\xff\xfe", "is no valid TOML: "),
    ],
)
def test_what_does_not_is_refused_with_the_place_and_without_what_was_found(
    content: bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "some.toml"
    path.write_bytes(content)
    with pytest.raises(SetupError) as raised:
        read(path)
    message = str(raised.value)
    assert message.startswith(f"some file '{path}'")
    assert told in message
    assert "secret" not in message


def test_a_file_that_is_not_there_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"some file '.*none' cannot be read: No such file or directory; write one$"):
        read(tmp_path / "none")
