"""What a notebook shows to be used by hand: sliders, a picture to click on, cards to answer.

`explore` has the settings of one function, `pick_region` the clicks that select a region, `ask`
cards to be answered; the whole series as an app is in `app`. Works with ipywidgets 7.7 and 8.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets
from PIL import Image

from portraitlib.generate.calls import bind_call, get_setting, setting_names, with_settings
from portraitlib.generate.regions import RADIUS, select_region
from portraitlib.measuring.blind import Card, agreement, draw_cards, score_cards, write_answers
from portraitlib.photos.files import read_content
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.photos.pictures import Picture, open_picture
from portraitlib.portrait import Portrait, caption
from portraitlib.settings import UsageError
from portraitlib.show import show_grid, show_strip
from portraitlib.studio.fields import SHOWN, Setting, make_setting, shown
from portraitlib.studio.gallery import data_link, encoded
from portraitlib.studio.look import reader_present, style, text_of, without_reader
from portraitlib.studio.uploads import FilePlace, Files, put_picture

THUMBNAIL_PX = 96
CLICKED_PX = 512
ASKED = {"Me": True, "Not me": False}  # what the buttons say of a card
# What has a control, in the order of the screen, where the function knows it.
EXPLORED = [name for name, how in SHOWN.items() if how.explored]


def explore(
    function: Callable[..., list[Portrait]],
    model: Any,
    *inputs: Any,
    made: list[Portrait] | None = None,
    **settings: Any,
) -> Any:
    """Return sliders for the settings of `function(model, *inputs, **settings)`, and a button.

    The controls start at the values given, or at the defaults of the model's preset; a function
    with an `image` also gets a button to upload another. Once the button is pressed the pictures
    appear below it, and are appended to `made` if that is a list. A notebook that runs without a
    reader (papermill, nbconvert) gets a line of text instead: put a figure beside it.

    Raises `UsageError` if the function cannot be called with what was given.

    >>> explore(text_to_image, model, "a smiling man", Sampling(seed=3))
    """
    arguments = bind_call(function, (model, *inputs), settings)
    if not reader_present():
        return without_reader("its sliders appear")
    known = setting_names(arguments)
    controls = {name: _control(arguments, model, name) for name in EXPLORED if name in known}
    button = widgets.Button(description="Make portraits", button_style="primary", icon="magic")
    progress = widgets.IntProgress(value=0, max=1, layout=widgets.Layout(width="300px"))
    said = widgets.HTML("")
    upload, uploaded = _upload_row(arguments, said)
    picture = widgets.Image(layout=widgets.Layout(display="none"))

    def make(_: Any) -> None:
        button.disabled, said.value = True, ""
        try:
            chosen = {name: control.read() for name, control in controls.items()} | uploaded
            portraits = _call(function, with_settings(arguments, chosen), progress)
        except Exception as problem:  # the reader sees one line and may try again
            said.value = f"<b>{html.escape(str(problem) or type(problem).__name__)}</b>"
        else:
            picture.value, picture.format = show_strip(portraits).encoded()
            picture.layout.display = None
            said.value = _summary(portraits)
            if made is not None:
                made.extend(portraits)
        finally:
            button.disabled, progress.value = False, 0

    button.on_click(make)
    rows = [*upload, *(control.box for control in controls.values())]
    rows += [widgets.HBox([button, progress]), said, picture]
    box = widgets.VBox([widgets.HTML(style()), *rows])
    return box.add_class("pl-studio").add_class("pl-explore")


def _upload_row(arguments: dict[str, Any], said: Any) -> tuple[list[Any], dict[str, Any]]:
    """The button and thumbnail for a function with an `image`, and what was uploaded with it.

    The dict stays empty until then. What cannot be read leaves it, and is told in `said`.
    """
    uploaded: dict[str, Any] = {}
    if "image" not in arguments:
        return [], uploaded
    thumbnail = widgets.Image(format="jpeg", layout=widgets.Layout(display="none"))

    def take(files: Files) -> None:
        said.value = ""
        uploaded["image"], _ = read_content(files[0][1])
        put_picture(thumbnail, uploaded["image"], THUMBNAIL_PX)

    def say(text: str) -> None:
        said.value = f"<b>{html.escape(text)}</b>"

    if arguments["image"] is not None:
        put_picture(thumbnail, open_picture(arguments["image"]), THUMBNAIL_PX)
    place = FilePlace("or drop it here", take, say, "Another picture")
    return [widgets.HBox([place, thumbnail])], uploaded


def _call(
    function: Callable[..., list[Portrait]], arguments: dict[str, Any], progress: Any
) -> list[Portrait]:
    """What the function makes; the bar shows its steps, if it tells of them."""

    def on_step(step: int, total: int) -> None:
        progress.max, progress.value = total, step

    watch = {"on_step": on_step} if "on_step" in arguments else {}
    return function(**{**arguments, **watch})


def _control(arguments: dict[str, Any], model: Any, name: str) -> Setting:
    """The widget of a setting, at the value held, else at the default of the model's preset."""
    value = get_setting(arguments, name)
    value = getattr(model.preset, name, None) if value is None else value
    return make_setting(name, value, shown(name).empty if value is None else None)


def _summary(portraits: list[Portrait]) -> str:
    """The recipe of what was made, in one line."""
    recipe = portraits[0].recipe
    if "seed" not in recipe:  # a picture that no model drew, such as edges
        return ""
    seeds = ", ".join(str(portrait.recipe.get("seed")) for portrait in portraits)
    seconds = sum(portrait.recipe.get("seconds") or 0.0 for portrait in portraits)
    return html.escape(f"{caption({**recipe, 'seed': seeds})} · {seconds:.1f} s")


# --- a picture to click on -----------------------------------------------------------------------


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
    factor = CLICKED_PX / max(picture.size)
    size = (round(picture.width * factor), round(picture.height * factor))
    return data_link(encoded(picture.resize(size, Image.Resampling.BICUBIC)), "image/jpeg")


# --- cards to answer -----------------------------------------------------------------------------


def ask(
    photos: PhotoSet,
    portraits: Sequence[Portrait | Image.Image],
    strangers: Sequence[Portrait | Image.Image],
    *,
    count: int = 20,
    seed: int = 0,
    folder: str | Path | None = None,
) -> Any:
    """Return cards one by one, the person's portraits among strangers', and two buttons under them.

    No score is shown before the last answer; then how often the eye and likeness agree.
    photos: of the person, best some that nothing was trained on.  portraits: drawn of the person.
    strangers: in the same style, as `pl.style_strangers` draws them; those on no card are
        likeness 0.  count: cards, 2 to 200, half of each.  seed: decides which, and their order.
    folder: where the answers are kept, for `pl.read_answers`; no earlier one is replaced.

    A notebook that runs without a reader gets a figure of the cards instead, at once. Raises
    UsageError for what cannot be shown or measured.
    """
    cards = draw_cards(portraits, strangers, count, seed)
    if not reader_present():
        pictures = [card.image for card in cards if card.image]
        return show_grid(
            pictures, 10, title=f"Which of these {len(cards)} are {photos.identifier}?"
        )
    box = card_box(score_cards(cards, photos, strangers), photos, folder)
    box.children = (widgets.HTML(style()), *box.children)
    return box.add_class("pl-studio").add_class("pl-explore")


def card_box(cards: Sequence[Card], photos: PhotoSet, folder: str | Path | None) -> Any:
    """The person's photos, a card, its two buttons, and what is said: "3 of 20"."""
    answers: list[Card] = []
    known, kind = show_strip(photos.images[:6]).encoded()
    who = widgets.Image(value=known, format=kind)
    shown_card = widgets.Image(format="jpeg", layout=widgets.Layout(width="256px"))
    said = widgets.HTML()
    buttons = {widgets.Button(description=words): me for words, me in ASKED.items()}

    def show() -> None:
        said.value = f"{len(answers) + 1} of {len(cards)}"
        if len(answers) < len(cards):
            put_picture(shown_card, cards[len(answers)].image, CLICKED_PX)
            return
        for button in buttons:
            button.disabled = True
        said.value = html.escape(agreement(answers))
        if folder is not None:
            try:
                said.value += f"<br>kept in {html.escape(str(write_answers(folder, answers)))}"
            except UsageError as problem:
                said.value += f"<br><b>{html.escape(str(problem))}</b>"

    def answer(button: Any) -> None:
        if len(answers) < len(cards):
            answers.append(replace(cards[len(answers)], me=buttons[button]))
            show()

    for button in buttons:
        button.on_click(answer)
    show()
    answers_row = widgets.HBox([*buttons]).add_class("pl-answer")
    return widgets.VBox([who, shown_card, answers_row, said])
