"""The studio's files for a browser, and whether somebody looks at all."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any


@cache
def text_of(name: str) -> str:
    """The content of a file beside this module."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def style() -> str:
    """The style sheet of everything here, as HTML; in Voila the studio's cell alone is shown."""
    sheets = ["style.css", *(["app.css"] if served_by_voila() else [])]
    return "".join(f"<style>\n{text_of(name)}</style>" for name in sheets)


def served_by_voila() -> bool:
    """Does this kernel run for an app by Voila?"""
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


def reader_present() -> bool:
    """Tell whether somebody can press a button here.

    Whoever executes a notebook tells the kernel whether it can answer questions: front-ends can,
    papermill and nbconvert say that nobody is there. Voila, which cannot either, serves a reader.
    Outside a notebook the answer is yes.
    """
    if served_by_voila():
        return True
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None or not hasattr(kernel, "get_parent"):
        return True
    request = kernel.get_parent("shell") or {}
    return bool(request.get("content", {}).get("allow_stdin", True))


def without_reader(what: str) -> Any:
    """What a notebook that runs without a reader stores in place of widgets."""
    from IPython.display import Markdown

    return Markdown(f"*Run this cell in a live notebook: {what} here.*")
