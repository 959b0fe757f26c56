"""A hub of models on this machine, and processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from portraitlib.models import files as model_files
from portraitlib.models.presets import PRESETS

WEIGHTS = Path(PRESETS["mini"].source)
PARTS = ("text_encoder", "text_encoder_2", "unet", "vae")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of mini's folder that a test may damage; the weights are links."""
    copy = tmp_path / "model"
    shutil.copytree(WEIGHTS, copy, copy_function=os.symlink)
    return copy


def as_variant(folder: Path, variant: str) -> None:
    for part in PARTS:
        for file in (folder / part).glob("*.safetensors"):
            file.rename(file.with_suffix(f".{variant}.safetensors"))


# The hub, for real but small: a server on this machine that speaks as much of the hub's protocol
# as a download needs.
class Hub(BaseHTTPRequestHandler):
    repositories: dict[str, tuple[str, Path]] = {}  # id -> (commit, folder)
    asked: list[str] = []

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        words = self.path.split("?")[0].strip("/").split("/")
        start = 2 if words[0] == "api" else 0
        commit, folder = self.repositories.get("/".join(words[start : start + 2]), ("", None))
        if folder is None:
            self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif "tree" in words:
            sizes = {n: (folder / n).stat().st_size for n in model_files.list_folder(folder)}
            tree = [
                {"type": "file", "path": name, "size": size, "oid": f"{size:040x}"}
                for name, size in sizes.items()
            ]
            self.reply(200, json.dumps(tree).encode(), {})
        elif words[0] == "api":
            files = [
                {"rfilename": name, "size": (folder / name).stat().st_size}
                for name in model_files.list_folder(folder)
            ]
            listing = {"id": "/".join(words[2:4]), "sha": commit, "siblings": files}
            self.reply(200, json.dumps(listing).encode(), {})
        else:
            content = (folder / "/".join(words[4:])).read_bytes()
            self.reply(200, content, {"X-Repo-Commit": commit, "ETag": f'"{len(content):040x}"'})

    def reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def hub(folder):
    """The addresses that sdxl's preset names, serving mini's files as an fp16 variant."""
    as_variant(folder, "fp16")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle beside it")
    (folder / "big.safetensors").write_bytes(b"a single file nobody asked for")
    shutil.copytree(folder / "vae", folder.parent / "vae")
    plain = folder.parent / "vae" / "diffusion_pytorch_model.safetensors"
    plain.with_suffix(".fp16.safetensors").rename(plain)
    preset = PRESETS["sdxl"]
    Hub.repositories = {
        preset.source: (preset.revision, folder),
        preset.vae_source: (preset.vae_revision, folder.parent / "vae"),
    }
    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def run_apart(code: str, cache: Path, endpoint: str, offline: str = "0") -> str:
    """What a fresh process prints, given its own empty cache; the hub's settings are read once."""
    environment = {
        **os.environ,
        "HF_HOME": str(cache),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": offline,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=600
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout.strip()
