"""What a browser sends to a place for files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def pieces_of(
    files: list[tuple[str, bytes]], drop: str, piece_bytes: int
) -> Iterator[tuple[dict[str, Any], list[memoryview]]]:
    """The messages of one drop: what each says, and its bytes."""
    for index, (name, content) in enumerate(files):
        starts = range(0, max(1, len(content)), piece_bytes)
        for at in starts:
            last = at == starts[-1] and index == len(files) - 1
            said = {"drop": drop, "name": name, "first": at == 0, "last": last}
            yield said, [memoryview(content[at : at + piece_bytes])]


def arrive(place: Any, *files: tuple[str, bytes], piece_bytes: int = 2**19) -> None:
    """Drop files on a place."""
    for said, buffers in pieces_of(list(files), "a drop", piece_bytes):
        place._handle_custom_msg(said, buffers)
