"""A picture to click on: what the clicks select, and the parameters that say the same."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets
from PIL import Image

from portraitlib.generate.regions import RADIUS, select_region
from portraitlib.photos.pictures import Picture, open_picture
from portraitlib.settings import UsageError
from portraitlib.studio.gallery import data_link, encoded
from portraitlib.studio.look import reader_present, text_of, without_reader

SHOWN_PX = 512


class ClickPicture(anywidget.AnyWidget):
    """A picture, and where it was clicked last: shares of its width and height.

    source: the picture as a data address.
    """

    _esm = text_of("click_picture.js")
    source = traitlets.Unicode().tag(sync=True)
    click = traitlets.List(traitlets.Float()).tag(sync=True)


def pick_region(
    image: Picture,
    points: Sequence[Sequence[float]] = (),
    radius: float = RADIUS.example,
) -> Any:
    """Return a picture to click on, with what the clicks select in red, and a slider for `radius`.

    points: clicked already, shares of width and height. Under it stand the points and the radius as
    parameters of a notebook have them. As with `explore`, a notebook that runs without a reader
    gets a line of text instead. Raises UsageError for a picture that cannot be read.
    """
    picture = open_picture(image)
    if not reader_present():
        return without_reader("the picture to click on appears")
    chosen = [(float(x), float(y)) for x, y in points]
    clicked, said = ClickPicture(), widgets.HTML()
    slider = widgets.FloatSlider(
        value=radius, min=RADIUS.low, max=0.6, step=0.01, description="radius",
        continuous_update=False,
    )  # fmt: skip
    undo = widgets.Button(description="Take back", icon="undo")

    def show(_: Any = None) -> None:
        try:
            clicked.source = _address_of(_marked(picture, chosen, slider.value))
        except UsageError as problem:
            said.value = html.escape(str(problem))
            return
        rounded = [[round(x, 3), round(y, 3)] for x, y in chosen]
        said.value = f"<code>points = {rounded}</code><br><code>radius = {slider.value:g}</code>"

    def add(change: Any) -> None:
        if change["new"]:
            x, y = (min(max(share, 0.0), 0.999) for share in change["new"])
            chosen.append((x, y))
            clicked.click = []  # the same place may be clicked again
            show()

    def take_back(_: Any) -> None:
        del chosen[-1:]
        show()

    clicked.observe(add, "click")
    slider.observe(show, "value")
    undo.on_click(take_back)
    show()
    return widgets.VBox([clicked, widgets.HBox([slider, undo]), said])


def _marked(
    picture: Image.Image, shares: Sequence[tuple[float, float]], radius: float
) -> Image.Image:
    """The picture with what clicks at these shares of it select in red."""
    if not shares:
        return picture
    points = [(x * picture.width, y * picture.height) for x, y in shares]
    return mark_region(picture, select_region(picture, points, radius=radius))


def mark_region(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with the region of a mask in red."""
    red = Image.new("RGB", picture.size, (220, 30, 30))
    return Image.composite(red, picture, mask.point(lambda level: level // 2))


def _address_of(picture: Image.Image) -> str:
    """The picture, 512 px on its longer side: a small one is clicked on as exactly as a large."""
    factor = SHOWN_PX / max(picture.size)
    size = (round(picture.width * factor), round(picture.height * factor))
    return data_link(encoded(picture.resize(size, Image.Resampling.BICUBIC)), "image/jpeg")
