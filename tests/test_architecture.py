"""Reads the imports: one library, one door; arrows go one way; what serves is light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

PACKAGE: Final = Path(__file__).parent.parent / "emotion_svc"

DOORS: Final = {
    "onnxruntime": "engines/embedded.py",
    "vllm": "engines/vllm",  # and engines/vllm_serve.py
    "openai": "engines/remote.py",
    "outlines": "decoding/language.py",
    "outlines_core": "decoding/",
    "fastapi": "serving/",
    "starlette": "serving/",
    "uvicorn": "serving/",
    "prometheus_client": "serving/",
    "opentelemetry": "serving/",
    "torch": "train/",
    "peft": "train/causal.py",
    "psutil": "bench/",
    "llama_cpp": "bench/peers/",
    "gguf": "bench/peers/",
}
"""Where a library may be imported: the one file, the one folder, or files whose names begin alike."""

PEERS: Final = "bench/peers/"
"""What others would use instead of us: it stands there with libraries of its own."""

LAYERS: Final = (
    {"taxonomy", "text", "errors"},
    {"files"},
    {"schema", "config", "exits"},
    {"data", "modeldir", "prompt"},
    {"decoding"},
    {"engines"},
    {"routing"},
    {"serving", "eval", "bench"},
    {"train"},
    {"cli"},
)
"""A room imports from the rows above its own, and from itself."""


class Import(NamedTuple):
    file: str
    module: str

    @property
    def library(self) -> str:
        return self.module.split(".")[0]

    @property
    def room_here(self) -> str:
        """The room of the file; a room's own command line stands on top, with `cli`."""
        name = Path(self.file).stem
        return "cli" if name in {"cli", "__main__"} else self.file.split("/")[0].removesuffix(".py")

    @property
    def room_there(self) -> str:
        return self.module.split(".")[1]


def imports() -> Iterator[Import]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                names = [node.module or ""]
            yield from (Import(path.relative_to(PACKAGE).as_posix(), name) for name in names)


ALL: Final = list(imports())
OUR_OWN: Final = [i for i in ALL if i.module.startswith("emotion_svc.")]


@pytest.mark.parametrize("library", DOORS)
def test_a_library_comes_in_by_one_door(library: str) -> None:
    door = DOORS[library]
    elsewhere = [i.file for i in ALL if i.library == library and not i.file.startswith((door, PEERS))]
    assert elsewhere == []


def test_every_file_has_its_place_in_the_picture() -> None:
    known = set().union(*LAYERS)
    assert {i.room_here for i in ALL} - {"__init__"} <= known
    assert {i.room_there for i in OUR_OWN} <= known


def test_arrows_go_one_way() -> None:
    rank = {room: row for row, rooms in enumerate(LAYERS) for room in rooms}
    wrong = [
        f"{i.file} imports {i.module}"
        for i in OUR_OWN
        if i.room_here != i.room_there and rank[i.room_there] >= rank[i.room_here]
    ]
    assert wrong == []


def test_errors_and_settings_import_no_room() -> None:
    assert {i.module for i in OUR_OWN if i.file in {"errors.py", "config.py"}} <= {"emotion_svc.errors"}


def test_what_serves_is_imported_without_any_heavy_library() -> None:
    code = "import sys, emotion_svc.cli, emotion_svc.serving.run; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {module.split(".")[0] for module in done.stdout.split()}
    heavy = {"torch", "vllm", "openai", "transformers", "peft", "sklearn", "onnx", "matplotlib", "psutil", "llama_cpp"}
    assert loaded.isdisjoint(heavy)
