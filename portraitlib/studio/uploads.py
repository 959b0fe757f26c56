"""Places of the studio's screen: for files that come, and for pictures that will."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets
from PIL import Image

from portraitlib.photos.files import NotAPhoto
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.photos.read import read_photos
from portraitlib.portrait import write_whole
from portraitlib.settings import UsageError
from portraitlib.studio.gallery import encoded
from portraitlib.studio.look import text_of

PIECE_BYTES = 512 * 1024
Files = list[tuple[str, bytes]]  # names and contents


class FilePlace(anywidget.AnyWidget):
    """A place for files: dropped on it, or chosen by its button.

    words: said beside the button; `take` gets the names and contents once the files are here, and
    `say` a line about what it cannot take;
    accept: which files the button offers, as in HTML; multiple: several at once, or the first.

    The files come in pieces, each answered. ipywidgets' own FileUpload sends all of them in one
    message, and what is above 10 MB (Jupyter's server) or 1 MB (Colab) is lost without a word:
    https://github.com/jupyter-widgets/ipywidgets/issues/2522 and /3452.
    """

    _esm = text_of("file_place.js")
    _css = text_of("file_place.css")
    description = traitlets.Unicode().tag(sync=True)
    words = traitlets.Unicode().tag(sync=True)
    accept = traitlets.Unicode().tag(sync=True)
    multiple = traitlets.Bool().tag(sync=True)
    piece_bytes = traitlets.Int(PIECE_BYTES).tag(sync=True)

    def __init__(
        self,
        words: str,
        take: Callable[[Files], None],
        say: Callable[[str], None],
        button: str,
        accept: str = "image/*",
        multiple: bool = False,
    ) -> None:
        super().__init__(words=words, description=button, accept=accept, multiple=multiple)
        self._take, self._say = take, say
        self._arriving: dict[str, list[tuple[str, bytearray]]] = {}  # by drop: two may overlap
        self.on_msg(self._arrive)
        self.add_class("pl-up-" + button.lower().replace(" ", "-"))

    def _arrive(self, _: Any, piece: dict[str, Any], buffers: Sequence[Any]) -> None:
        """A piece of a file: {drop, name, first of the file, last of the drop}, and its bytes."""
        files = self._arriving.setdefault(piece["drop"], [])
        if piece["first"]:
            files.append((piece["name"], bytearray()))
        files[-1][1].extend(buffers[0])
        self.send({"drop": piece["drop"]})
        if piece["last"]:
            del self._arriving[piece["drop"]]
            try:
                self._take([(name, bytes(content)) for name, content in files])
            except (NotAPhoto, UsageError) as problem:
                self._say(f"{files[0][0]}: {problem}")


def keep_photos(files: Files, folder: Path, size_px: int) -> tuple[Path, PhotoSet]:
    """Photos written to a folder of their own in this one, then read like any; folder and photos.

    Raises UsageError if there is nothing usable among them.
    """
    home = folder / f"photos-{time.strftime('%Y%m%d-%H%M%S')}"
    for name, content in files:
        write_whole(home / Path(name).name, content)
    return home, read_photos(home, size_px=size_px)


def shown_place() -> tuple[Any, Any]:
    """A reserved square, and the picture in it."""
    picture = widgets.Image(format="jpeg", layout=widgets.Layout(display="none"))
    return widgets.Box([picture]).add_class("pl-shown"), picture


def put_picture(widget: Any, picture: Image.Image | None, side_px: int = 0) -> None:
    """Show a picture in its place, or leave the place empty."""
    if picture is not None:
        widget.value = encoded(picture, side_px)
    widget.layout.display = "none" if picture is None else None


def titled(parts: Sequence[Any], title: str) -> Any:
    """Widgets under a line of their own."""
    return widgets.VBox([widgets.HTML(title).add_class("pl-head-line"), *parts])
