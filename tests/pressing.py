"""A studio with quick pictures, and its button pressed."""

from __future__ import annotations

from portraitlib.settings import Sampling
from portraitlib.studio.recipes import Screen

QUICK = Screen(sampling=Sampling(num_inference_steps=3))


def draw(studio, tab="words"):
    """Draw what is on screen; what is said at the end."""
    studio.turn_to(tab)
    studio.generate()
    studio.stage.worker.wait(300)
    return studio.stage.said
