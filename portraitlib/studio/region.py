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
from portraitlib.studio.look import reader_present

SHOWN_PX = 512

SCRIPT = """
function render({ model, el }) {
  const image = document.createElement("img");
  Object.assign(image.style, { width: "min(100%, 512px)", cursor: "crosshair", display: "block" });
  const show = () => { image.src = model.get("source"); };
  image.alt = "a picture to click on";
  image.draggable = false;
  image.addEventListener("click", (event) => {
    const box = image.getBoundingClientRect();
    model.set("click", [(event.clientX - box.left) / box.width,
      (event.clientY - box.top) / box.height]);
    model.save_changes();
  });
  model.on("change:source", show);
  show();
  el.append(image);
  return () => model.off("change:source", show);
}
export default { render };
"""


class ClickPicture(anywidget.AnyWidget):
    """A picture, and where it was clicked last: shares of its width and height.

    source: the picture as a data address.
    """

    _esm = SCRIPT
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
        from IPython.display import Markdown

        return Markdown("*Run this cell in a live notebook: the picture to click on appears here.*")
    chosen = [(float(x), float(y)) for x, y in points]
    shown, said = ClickPicture(), widgets.HTML()
    slider = widgets.FloatSlider(
        value=radius, min=RADIUS.low, max=0.6, step=0.01, description="radius",
        continuous_update=False,
    )  # fmt: skip
    undo = widgets.Button(description="Take back", icon="undo")

    def show() -> None:
        pixels = [(x * picture.width, y * picture.height) for x, y in chosen]
        marked = picture
        try:
            if chosen:
                marked = mark_region(picture, select_region(picture, pixels, radius=slider.value))
        except UsageError as problem:
            said.value = html.escape(str(problem))
            return
        shown.source = _address_of(marked)
        rounded = [[round(x, 3), round(y, 3)] for x, y in chosen]
        said.value = f"<code>points = {rounded}</code><br><code>radius = {slider.value:g}</code>"

    def add(change: Any) -> None:
        if change["new"]:
            chosen.append(tuple(min(max(each, 0.0), 0.999) for each in change["new"]))
            shown.click = []  # the same place may be clicked again
            show()

    def take_back(_: Any) -> None:
        del chosen[-1:]
        show()

    shown.observe(add, "click")
    slider.observe(lambda _: show(), "value")
    undo.on_click(take_back)
    show()
    return widgets.VBox([shown, widgets.HBox([slider, undo]), said])


def mark_region(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with the region of a mask in red."""
    red = Image.new("RGB", picture.size, (220, 30, 30))
    return Image.composite(red, picture, mask.point(lambda level: level // 2))


def _address_of(picture: Image.Image) -> str:
    """The picture, 512 px on its longer side: a small one is clicked on as exactly as a large."""
    factor = SHOWN_PX / max(picture.size)
    size = (round(picture.width * factor), round(picture.height * factor))
    return data_link(encoded(picture.resize(size, Image.Resampling.BICUBIC)), "image/jpeg")
