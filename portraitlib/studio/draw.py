"""What the studio draws: one screen of settings to portraits, live and in a papermill run alike."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portraitlib.generate.calls import TOGETHER
from portraitlib.generate.conditions import Condition, canny
from portraitlib.generate.control import control_to_image
from portraitlib.generate.images import OnStep, fill_defaults, image_to_image, text_to_image
from portraitlib.generate.latents import OnPreview
from portraitlib.measuring.measure import measure
from portraitlib.measuring.result import Measurement
from portraitlib.measuring.sweep import SweepTable, sweep
from portraitlib.models.adapters import Adapter
from portraitlib.models.load import Model
from portraitlib.photos.photo_set import Likeness, PhotoSet
from portraitlib.photos.pictures import READY_KEPT, Picture, content_hash
from portraitlib.places import once
from portraitlib.portrait import Portrait
from portraitlib.settings import UsageError
from portraitlib.studio.recipes import Lines, Screen
from portraitlib.training.class_images import make_class_images
from portraitlib.training.dreambooth import Progress, train_dreambooth


@dataclass(frozen=True)
class Made:
    """What came of a screen.

    table, scores: of a sweep, else None.  adapter: what was taught for it, else None.
    """

    portraits: list[Portrait]
    table: SweepTable | None = None
    scores: Measurement | None = None
    adapter: Adapter | None = None


@dataclass(frozen=True)
class Callbacks:
    """Who hears of a drawing: of its steps, of what forms, and of a training."""

    on_step: OnStep | None = None
    on_preview: OnPreview | None = None
    on_training: Callable[[Progress], None] | None = None


NOBODY = Callbacks()


def make(
    model: Model, screen: Screen, photos: PhotoSet | None = None, watch: Callbacks = NOBODY
) -> Made:
    """Draw what a screen says: the same pixels wherever it is done on one machine.

    photos: of the person: the first is the picture of a screen without one, a training learns from
        all of them, all are what is in the prompt, and a sweep is scored for likeness to them.
    Raises UsageError in one line for whatever cannot be drawn.
    """
    adapted, adapter = with_adapters(model, screen.adapters), None
    if screen.training is not None:
        adapter = teach(adapted, screen, photos, watch)
        adapted = adapted.with_adapter(adapter)
    function, inputs, settings = call_of(adapted, screen, photos)
    drawn = functools.partial(function, on_step=watch.on_step, on_preview=watch.on_preview)
    if not screen.vary:
        return Made(drawn(adapted, *inputs, **settings), adapter=adapter)
    TOGETHER[drawn] = TOGETHER[function]
    try:
        held = {name: value for name, value in settings.items() if name not in screen.vary}
        table = sweep(drawn, adapted, *inputs, vary=screen.vary, **held)
    finally:
        del TOGETHER[drawn]
    sizes_vary = "size_px" in screen.vary
    edges = inputs[0].image if screen.method == "edges" and not sizes_vary else None
    return Made(table.portraits, table, score(table, photos, edges), adapter)


def call_of(
    model: Model, screen: Screen, photos: PhotoSet | None
) -> tuple[Callable[..., list[Portrait]], list[Any], dict[str, Any]]:
    """The function that draws a screen, its inputs, and its settings by name."""
    settings: dict[str, Any] = {"prompt": screen.prompt, "sampling": screen.sampling}
    if screen.person.photos_in_prompt:
        settings["person"] = person_of(screen, photos)
    if screen.method == "words":
        return text_to_image, [], settings
    if screen.method == "photo":
        settings["strength"] = screen.from_photo.strength
        return image_to_image, [picture_of(screen, photos)], settings
    size_px = fill_defaults(model, screen.sampling).size_px
    edges = edges_of(model, picture_of(screen, photos), screen.lines, size_px)
    return control_to_image, [edges], settings | {"control": screen.control}


def picture_of(screen: Screen, photos: PhotoSet | None) -> Picture:
    """The picture that a screen starts from; raises UsageError if it has none."""
    if screen.photo_file:
        return screen.photo_file
    if photos is None or not len(photos.images):
        raise UsageError("photo: there is none yet; upload one, or send one from the gallery")
    return next(photo for photo in photos if photo.image is not None)


def person_of(screen: Screen, photos: PhotoSet | None) -> Likeness:
    """The photos in the prompt; raises UsageError if there are none."""
    if photos is None or not len(photos):
        raise UsageError("photos in the prompt: there are none yet; add one or more of one person")
    return Likeness(photos, screen.person.person_scale)


def edges_of(model: Model, picture: Picture, lines: Lines, size_px: int | None) -> Condition:
    """The edges of a picture at a size; the model remembers them by the content of the picture."""

    def find() -> Condition:
        return canny(picture, lines.low_threshold, lines.high_threshold, size_px=size_px)

    content = content_hash(picture)
    if content is None:  # unreadable, which `canny` says
        return find()
    return once(model.ready_pictures, (content, lines, size_px), READY_KEPT, find)


def with_adapters(model: Model, adapters: tuple[tuple[str, float], ...]) -> Model:
    """The model with the adapters of these files; the last ones made are remembered."""
    wanted = []
    for file, scale in adapters:
        if scale:
            stat = Path(file).stat() if os.path.isfile(file) else None
            wanted.append((file, stat and stat.st_mtime_ns, scale))
    return _adapted(model, tuple(wanted))


@functools.lru_cache(maxsize=3)
def _adapted(model: Model, wanted: tuple[tuple[str, int | None, float], ...]) -> Model:
    for file, _, scale in wanted:
        model = model.with_adapter(Adapter.open(file), scale)
    return model


def teach(model: Model, screen: Screen, photos: PhotoSet | None, watch: Callbacks) -> Adapter:
    """Teach the face of the photos, as the screen's training says."""
    training = screen.training
    if photos is None or training is None:
        raise UsageError("photos: there are none to learn from; upload ten or more")
    classes = None
    if screen.num_class_images:
        if training.class_prompt is None:
            raise UsageError(
                "class prompt: got none for the class images, expected what they show; "
                "try 'portrait of a man'"
            )
        classes = make_class_images(
            model, training.class_prompt, count=screen.num_class_images, on_step=watch.on_step
        )
        training = replace(training, class_prompt=None)
    return train_dreambooth(
        model, photos, training, classes, trackers=(), on_step=watch.on_training
    )


def score(
    portraits: SweepTable | list[Portrait], photos: PhotoSet | None = None, edges: Any = None
) -> Measurement:
    """Measure portraits by what they were asked for; a prompt that no judge knows is not measured.

    Warns of that: the pictures are wanted all the same.
    """
    drawn = portraits.portraits if isinstance(portraits, SweepTable) else portraits
    prompts = [portrait.recipe["prompt"] for portrait in drawn]
    try:
        return measure(portraits, photos=photos, prompt=prompts, edges=edges)
    except UsageError as problem:
        warnings.warn(f"not measured: {problem}", stacklevel=2)
        return measure(portraits, photos=photos, edges=edges)
