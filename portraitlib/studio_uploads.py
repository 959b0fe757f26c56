"""Places of the studio's screen: for files that come, and for pictures that will."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets
from PIL import Image

from portraitlib.studio_gallery import encoded


def uploaded_files(value: Any) -> list[tuple[str, bytes]]:
    """Names and contents in the `value` of a FileUpload.

    ipywidgets 7 has a dict there, name -> {"content": bytes, ...}; ipywidgets 8 a tuple of dicts
    with a memoryview each.
    """
    if isinstance(value, dict):
        return [(name, bytes(each["content"])) for name, each in value.items()]
    return [(each["name"], bytes(each["content"])) for each in value]


def drop_place(
    told: str,
    take: Callable[[list[tuple[str, bytes]]], None],
    button: str,
    accept: str = "image/*",
    multiple: bool = False,
) -> Any:
    """A place to drop files on, with a button that chooses some."""
    upload = widgets.FileUpload(accept=accept, multiple=multiple, description=button)
    # The widget writes a count behind its words; the words alone stand in its place.
    mark = "pl-up-" + button.lower().replace(" ", "-")
    style = f'<style>.{mark} .widget-upload::after {{ content: "{button}"; }}</style>'
    note = widgets.HTML(f"{style}<span class='pl-soft'>{html.escape(told)}</span>")
    place = widgets.Box([upload, note])
    place.add_class("pl-drop")
    place.add_class(mark)

    def taken(change: Any) -> None:
        if change["new"]:
            files = uploaded_files(change["new"])
            # Emptied, so that the same file can be dropped again.
            if isinstance(change["new"], dict):
                upload.set_trait("_counter", 0)
                upload.set_trait("value", {})
            else:
                upload.value = ()
            take(files)

    upload.observe(taken, names="value")
    return place


def shown_place() -> tuple[Any, Any]:
    """A reserved square, and the picture in it."""
    picture = widgets.Image(format="jpeg", layout=widgets.Layout(display="none"))
    box = widgets.Box([picture])
    box.add_class("pl-shown")
    return box, picture


def put_picture(widget: Any, picture: Image.Image | None, side_px: int = 0) -> None:
    """Show a picture in its place, or leave the place empty."""
    if picture is not None:
        widget.value = encoded(picture, side_px)
    widget.layout.display = "none" if picture is None else None


def labelled(kind: Callable[..., Any], label: str, **settings: Any) -> Any:
    """A widget with its label in the column of labels."""
    box = kind(description=label, **settings)
    if hasattr(box, "continuous_update"):
        box.continuous_update = False
    box.layout.width = "auto"
    box.add_class("pl-labelled")
    return box


def titled(parts: Sequence[Any], title: str) -> Any:
    """Widgets under a line of their own."""
    head = widgets.HTML(title)
    head.add_class("pl-head-line")
    return widgets.VBox([head, *parts])
