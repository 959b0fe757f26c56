"""Teach a model a face: DreamBooth, by a LoRA or by all weights (https://arxiv.org/abs/2208.12242).

A run keeps everything in its folder and goes on where it was stopped, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portraitlib.adapters import Adapter
from portraitlib.address import cache_folder, digest
from portraitlib.checkpoints import (
    open_run,
)
from portraitlib.class_set import ClassImages
from portraitlib.interrupt import hold_interrupts
from portraitlib.models import Model
from portraitlib.photo_set import PhotoSet
from portraitlib.settings import DreamBooth
from portraitlib.training_check import check_training
from portraitlib.training_data import encode_captions, prepare_data
from portraitlib.training_step import make_trainer
from portraitlib.tuned import tune

DEFAULT_TRAINING = DreamBooth()
READ_LOSS_EVERY = 10  # steps: reading it makes a GPU wait
# What may be another when a run goes on: it does not change what is computed, but for rounding.
FREE = ("save_every_steps", "micro_batch_size", "compile", "gradient_checkpointing")


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    loss: smoothed over about 50 steps.  seconds: of training so far, earlier runs included.
    seconds_left: at the pace so far.  watched: what `watch` last gave, with its "step".
    """

    step: int
    total: int
    loss: float
    seconds: float
    seconds_left: float
    watched: dict[str, Any] | None = None

    def __str__(self) -> str:
        seen = {k: v for k, v in (self.watched or {}).items() if isinstance(v, float)}
        figures = "".join(f", {name} {value:.2f}" for name, value in seen.items())
        return (
            f"step {self.step} of {self.total}, loss {self.loss:.4f}, {self.seconds:.0f} s, "
            f"{self.seconds_left:.0f} s left{figures}"
        )


# Called with the model as it is and the step: what it gives is kept in the adapter's recipe.
Watch = Callable[[Model, int], Mapping[str, Any]]


def train_dreambooth(
    model: Model,
    photos: PhotoSet,
    settings: DreamBooth = DEFAULT_TRAINING,
    class_images: ClassImages | None = None,
    *,
    folder: str | Path | None = None,
    watch: Watch | None = None,
    watch_every: int = 100,
    trackers: tuple[str, ...] = (),
    on_step: Callable[[Progress], None] | None = None,
) -> Adapter:
    """Teach the model the person of the photos; the model itself stays as it is.

    class_images: pictures of others of the class, which keep the class word from becoming the
        person (prior preservation); None for none.
    folder: of the run; None for one of its own among the project's runs, by content. A run that
        was stopped there goes on; one that is complete is not trained again.
    watch: called before the first step, after every `watch_every` steps and after the last one;
        `FilmStrip` draws samples and measures them.
    trackers: names that accelerate knows, such as "tensorboard".
    on_step: called with a Progress every ten steps and after the last.

    Ctrl-C saves, then says how to go on. Out of memory halves `micro_batch_size`. A loss that is
    not a number stops the run, and the last good state stays.
    Raises UsageError in one line for photos, prompts or settings that cannot be trained with, a
    folder that holds another run or is in use, and a disk that is full; nothing saved is lost.
    """
    chosen = check_training(model, photos, settings, class_images)
    identity = _identity(model, photos, chosen, class_images)
    place = cache_folder("training") / digest(identity) if folder is None else Path(folder)
    accelerator = _accelerator(model, place, trackers)
    leads = accelerator.is_main_process
    with open_run(place, identity) if leads else nullcontext() as run:
        accelerator.wait_for_everyone()
        tuned = tune(model, chosen)
        trainer = make_trainer(tuned, chosen, accelerator)
        history = _resume(place, tuned, trainer)
        if history["step"] < history["total"]:
            data = prepare_data(model, photos, chosen, class_images)
            captions = None if chosen.text_learning_rate else encode_captions(model, data.captions)
            trainer.begin(data, captions)
            with _resting(model), hold_interrupts() as interrupt:
                told = _Told(run, tuned, trainer, history, watch, watch_every, on_step)
                _train(told, interrupt)
        accelerator.end_training()
    return _adapter(model, photos, chosen, class_images, tuned.tensors, history)
