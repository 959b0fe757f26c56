"""Is it me? The blind question about the pictures of the gallery, asked beneath it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from PIL import Image

from portraitlib.measuring.blind import draw_cards, score_cards
from portraitlib.measuring.measure import LEAST_STRANGERS
from portraitlib.models.load import Model
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.portrait import Portrait
from portraitlib.settings import Sampling, UsageError
from portraitlib.studio.explore import card_box
from portraitlib.studio.fields import set_tooltip
from portraitlib.studio.gallery import Entry, History
from portraitlib.studio.recipes import names_of
from portraitlib.studio.stage import Stage
from portraitlib.training.class_images import style_strangers, without_identifiers

# What pictures that are asked about together have in common: all that is not chance.
ALIKE = (
    *("function", "model", "prompt", "negative_prompt", "size_px", "num_inference_steps"),
    *("guidance_scale", "speed", "adapter", "person"),
)
MOST = 10  # cards of the person, and as many of strangers


class CardPanel:
    """A button, and the cards that it brings: pictures like the chosen one among strangers'.

    photos: gives the person's, or None.  folder: of the studio; the answers are kept in it.
    """

    def __init__(
        self, model: Model, folder: Path, history: History, stage: Stage,
        photos: Callable[[], PhotoSet | None],
    ) -> None:  # fmt: skip
        self.model, self.folder, self.history = model, folder, history
        self.stage, self.photos = stage, photos
        self.button = widgets.Button(description="Is it me?", icon="user")
        words = "your pictures like the chosen one among strangers', and no score before the last"
        set_tooltip(self.button, words)
        self.cards = widgets.VBox()
        self.close = widgets.Button(description="Close", icon="times")
        self.close.on_click(lambda _: setattr(self.cards, "children", ()))
        self.box = widgets.VBox([self.button, self.cards]).add_class("pl-cards")
        self.button.on_click(lambda _: stage.run(self._ask, "Drawing strangers"))

    def _ask(self) -> None:
        photos, chosen = self.photos(), self.stage.chosen
        if photos is None or not len(photos):
            raise UsageError("is it me: no photos to compare with; add yours to the prompt")
        if chosen is None:
            raise UsageError("is it me: there is no picture yet; draw some first")
        self._check(chosen.recipe)
        alike = {e.recipe.get("seed"): e for e in self.history.entries if is_alike(e, chosen)}
        portraits = [Portrait.open(entry.path) for entry in [*alike.values()][-MOST:]]
        strangers = self._strangers(chosen.recipe, len(portraits) + LEAST_STRANGERS)
        cards = draw_cards(portraits, strangers, 2 * len(portraits), secrets.randbelow(2**32))
        scored = score_cards(cards, photos, strangers)
        self.cards.children = (card_box(scored, photos, self.folder / "answers"), self.close)
        self.stage.say(f"{len(cards)} cards beneath the gallery, which is hidden until the last")

    def _check(self, recipe: Mapping[str, Any]) -> None:
        """Raise UsageError for a picture that no stranger would be drawn like."""
        if recipe.get("function") != "text_to_image":
            raise UsageError(
                "is it me: this picture has the outline of another, which would give it away; "
                "choose one that was drawn from words"
            )
        if recipe.get("model") != self.model.name:
            raise UsageError(
                f"is it me: this picture is by {recipe.get('model')}, and the strangers would be "
                f"by {self.model.name}; choose one that was drawn now"
            )

    def _strangers(self, recipe: Mapping[str, Any], count: int) -> list[Image.Image]:
        """Others by the same words and settings: some for cards, the rest to be likeness 0."""
        names = [adapter["identifier"] for adapter in recipe.get("adapter") or ()]
        prompt = without_identifiers(recipe["prompt"], names)
        settings = {name: recipe[name] for name in names_of(Sampling) if name in recipe}
        sampling = Sampling(**settings | {"num_images": 1})
        return style_strangers(self.model, prompt, sampling, count, on_step=self.stage.step)


def is_alike(one: Entry, other: Entry) -> bool:
    """Do two pictures differ in chance alone?"""
    return all(one.recipe.get(name) == other.recipe.get(name) for name in ALIKE)
