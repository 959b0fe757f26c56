"""Teach a model a face: DreamBooth, by a LoRA or by all weights (https://arxiv.org/abs/2208.12242).

A run keeps everything in its folder and goes on where it was stopped, bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import torch

from portraitlib.cost import Budget, BudgetSpent, Meter, cost_of
from portraitlib.device import device_name
from portraitlib.generate.images import library_versions
from portraitlib.models.adapters import Adapter
from portraitlib.models.load import Model
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.photos.pictures import picture_hash
from portraitlib.places import cache_folder, digest, output_folder
from portraitlib.portrait import Portrait
from portraitlib.settings import DreamBooth, Range, UsageError, check_number, check_record
from portraitlib.training.check import check_training
from portraitlib.training.checkpoints import (
    History,
    Progress,
    check_room,
    load_optimizer,
    newest_checkpoint,
    open_run,
    optimizer_tensors,
    save_checkpoint,
)
from portraitlib.training.class_set import ClassImages
from portraitlib.training.data import encode_captions, instance_captions, prepare_data
from portraitlib.training.networks import as_when_drawing, encoders_resting, tune
from portraitlib.training.step import (
    Trainer,
    hold_interrupts,
    is_any,
    make_trainer,
    start_accelerator,
    tracked,
    update,
)

DEFAULT_TRAINING = DreamBooth()
READ_LOSS_EVERY = 10  # steps: reading it makes a GPU wait
WATCH_EVERY = Range(1, 1_000_000, "updates between two looks", example=100)
# What may be another when a run goes on: it changes how it is computed, not what.
FREE = ("save_every_steps", "micro_batch_size", "compile", "gradient_checkpointing")
ADAPTER, ADAPTERS, FILM = "adapter.safetensors", "adapters", "film"  # what is in a run's folder


# Draws with the model as it is after so many steps: portraits to keep, and figures of them.
Watch = Callable[[Model, int], tuple[list[Portrait], dict[str, float]]]


@dataclass(frozen=True)
class _Asked:
    """What a training is of, and who is told of it; what the settings left open is filled in."""

    model: Model
    photos: PhotoSet
    settings: DreamBooth
    class_images: ClassImages | None
    watch: Watch | None
    watch_every: int
    on_step: Callable[[Progress], None] | None
    budget: Budget


@dataclass(frozen=True, eq=False)
class _Training:
    """A training in its folder, to which the first of several processes alone writes.

    earlier_s: what runs before this one took on the same device.
    """

    asked: _Asked
    trainer: Trainer
    history: History
    folder: Path
    meter: Meter
    earlier_s: float

    @property
    def writes(self) -> bool:
        return self.trainer.accelerator.is_main_process


def train_dreambooth(
    model: Model,
    photos: PhotoSet,
    settings: DreamBooth = DEFAULT_TRAINING,
    class_images: ClassImages | None = None,
    *,
    folder: str | Path | None = None,
    watch: Watch | None = None,
    watch_every: int = 100,
    trackers: tuple[str, ...] | None = None,
    on_step: Callable[[Progress], None] | None = None,
    budget: Budget | None = None,
) -> Adapter:
    """Teach the model the person of the photos; the model itself stays as it is.

    class_images: pictures of others, which keep the class word from becoming the person.
    folder: of the run; None for one found by content, whose twin at work is waited for. A run that
        was stopped there goes on, bit for bit; a complete one is not trained again.
    watch: called before the first step, after every `watch_every` steps and after the last, with
        the model as it is and the step; `film_strip` makes one, `read_film` reads what it gives. A
        run that goes on calls it with the untouched model and 0 first, and keeps nothing of that.
    trackers: names that accelerate knows; None is TensorBoard where it is installed, () is none.
    on_step: called with a Progress every ten steps and after the last.
    budget: the most that the training may cost, earlier runs included and class images not.

    Ctrl-C and BudgetSpent come with everything saved. Out of memory halves `micro_batch_size`.
    Raises UsageError in one line for what cannot be trained with, a folder that holds another run
    or is in use, a full disk, and a loss or weights that are no numbers; the last good state stays.
    """
    watch_every = int(check_number("train_dreambooth", "watch_every", watch_every, WATCH_EVERY))
    settings = check_training(model, photos, settings, class_images)
    budget = budget or Budget()
    budget.check(cost_of(0.0, device_name(model.device)))  # one in dollars needs a rate
    asked = _Asked(model, photos, settings, class_images, watch, watch_every, on_step, budget)
    identity = _identity(asked)
    place = cache_folder("training") / digest(identity) if folder is None else output_folder(folder)
    accelerator = start_accelerator(model, place, trackers)
    run = open_run(place, identity, wait=folder is None)
    with run if accelerator.is_main_process else nullcontext():
        accelerator.wait_for_everyone()
        if (path := place / ADAPTER).is_file():  # it is written when all is done
            return Adapter.open(path)
        with tracked(accelerator), Meter(model.device) as meter:
            training = _begin(asked, place, accelerator, meter)
            if training.history.step < training.history.total:
                _train(training)
        adapter = _adapter(training, training.trainer.tuned.tensors, training.history)
        if training.writes:
            adapter.save(path)
        return adapter


def _identity(asked: _Asked) -> dict[str, Any]:
    """All that decides what a run computes, named as its user knows it."""
    model, photos, settings = asked.model, asked.photos, asked.settings
    masks = [photo.mask and picture_hash(photo.mask) for photo in photos]
    crops = [photo.conditioning for photo in photos] if model.preset.knows_sizes else None
    size_px = model.preset.size_px
    resized = {"size_px": size_px} if size_px != photos.images[0].width else {}
    return resized | {
        "model": model.name,
        "model_revision": model.revision,
        "adapters": model.adapter_entries,
        "photos": digest([picture_hash(image) for image in photos.images]),
        "masks": digest(masks) if any(masks) else None,
        "captions": instance_captions(photos, settings),
        "crops": crops and digest(crops),
        "class_images": asked.class_images and asked.class_images.digest,
        **{name: value for name, value in asdict(settings).items() if name not in FREE},
    }


def _begin(asked: _Asked, place: Path, accelerator: Any, meter: Meter) -> _Training:
    """The networks and the optimizer as they were when the run was stopped, or new."""
    model, settings = asked.model, asked.settings
    tuned = tune(model, settings)
    if accelerator.is_main_process:  # each weight is saved with the two moments that AdamW keeps
        check_room(place, 3 * sum(weight.nbytes for weight in tuned.weights.values()))
    trainer = make_trainer(model, tuned, settings, accelerator)
    history = History(total=settings.max_train_steps or 0)
    if saved := newest_checkpoint(place):
        tuned.load(saved.tensors)
        load_optimizer(trainer.optimizer, trainer.names, saved.tensors, saved.state["optimizer"])
        trainer.scaler.load_state_dict(saved.state["scaler"])
        trainer.micro_batch_size = settings.micro_batch_size or saved.state["micro_batch_size"]
        history = check_record(str(place), saved.state["history"], History)
    earlier_s = history.spent_s.setdefault(device_name(model.device), 0.0)
    return _Training(asked, trainer, history, place, meter, earlier_s)


# --- the loop ------------------------------------------------------------------------------------


def _train(training: _Training) -> None:
    """Run the steps that are left; the history is kept up to date and saved with the weights."""
    trainer, history, asked = training.trainer, training.history, training.asked
    _check_budget(training)
    trainer.data = prepare_data(trainer.model, asked.photos, trainer.settings, asked.class_images)
    trainer.words = encode_captions(trainer.model, trainer.data.captions)
    if asked.watch and training.writes and history.step:
        asked.watch(trainer.model, 0)  # it may compare with what there was before
    losses: list[torch.Tensor] = []
    encoders = encoders_resting(trainer.tuned, offloaded=trainer.model.offloaded)
    with hold_interrupts() as interrupt, encoders:
        # Before the first step, or where the watcher failed when the run was here before.
        watched_steps = [row["step"] for row in history.figures]
        if history.step % asked.watch_every == 0 and history.step not in watched_steps:
            _watch(training)
        start_s = time.perf_counter()
        for step in range(history.step, history.total):
            losses.append(update(trainer, step))
            stopped = _is_stopped(trainer, interrupt, step + 1)
            if not (_is_due(training, step + 1) or stopped):
                continue
            _read_losses(training, losses)
            history.seconds += time.perf_counter() - start_s
            _report(training, stopped)
            start_s = time.perf_counter()  # watching and saving is no training


def _is_due(training: _Training, done: int) -> bool:
    """Is something read, watched or saved after so many steps?"""
    asked = training.asked
    every = (READ_LOSS_EVERY, asked.watch_every, asked.settings.save_every_steps)
    return done == training.history.total or any(done % number == 0 for number in every)


def _report(training: _Training, stopped: bool) -> None:
    """Watch, tell and save, as it is due; raise what stops the training, with everything saved."""
    history, asked = training.history, training.asked
    done, last = history.step, history.step == history.total
    watched = last or done % asked.watch_every == 0
    try:
        if watched:
            _watch(training)
        history.spend(training.meter.cost, training.earlier_s)
        if asked.on_step:
            asked.on_step(history.progress)
        if not last:
            _check_budget(training)
    except BaseException:  # what was learnt outlives a watcher that fails
        _save(training)
        raise
    if watched or stopped or done % asked.settings.save_every_steps == 0:
        _save(training)
    if stopped:
        where = training.folder if training.writes else "its folder"
        raise KeyboardInterrupt(
            f"stopped after step {done} of {history.total}, saved in {where}; "
            "run the same again to go on from there"
        )


def _is_stopped(trainer: Trainer, interrupt: Event, done: int) -> bool:
    """Has Ctrl-C been pressed? Several processes stop at the same step, once one was asked to."""
    accelerator = trainer.accelerator
    if accelerator.num_processes == 1 or done % READ_LOSS_EVERY:
        return interrupt.is_set() and accelerator.num_processes == 1
    return is_any(trainer, interrupt.is_set())


def _check_budget(training: _Training) -> None:
    """Raise BudgetSpent when it is used up; several processes, with a clock each, stop together."""
    trainer, history, why = training.trainer, training.history, ""
    try:
        training.asked.budget.check(history.cost)
    except BudgetSpent as problem:
        why = str(problem)
    if trainer.accelerator.num_processes > 1 and is_any(trainer, bool(why)):
        why = why or f"the budget of {training.asked.budget} is used up"
    if why:
        raise BudgetSpent(
            f"{why}; step {history.step} of {history.total} is saved in {training.folder}; "
            "run the same again with a larger budget to go on from there"
        )


def _read_losses(training: _Training, losses: list[torch.Tensor]) -> None:
    """Add the losses since the last time to the history; stops where one is no number."""
    history, accelerator = training.history, training.trainer.accelerator
    step = history.step + len(losses)
    summed = accelerator.reduce(torch.stack(losses), reduction="sum").tolist()
    losses.clear()
    if not all(map(math.isfinite, summed)):
        raise UsageError(f"the loss is not a number after step {step}; {_rescue(training)}")
    history.add_losses(summed)
    accelerator.log({"loss": history.loss}, step=step)


def _save(training: _Training) -> None:
    """Save all that the run needs to go on, but no weights that are no numbers."""
    trainer, history = training.trainer, training.history
    # The loss was of the weights before the last update; this is of those after it.
    finite = torch.stack([weight.isfinite().all() for weight in trainer.tuned.weights.values()])
    if not finite.all():
        raise UsageError(
            f"the weights are no numbers after step {history.step}; {_rescue(training)}"
        )
    history.spend(training.meter.cost, training.earlier_s)
    if not training.writes:
        return
    tensors, optimizer = optimizer_tensors(trainer.optimizer, trainer.names)
    state = {
        "optimizer": optimizer,
        "scaler": trainer.scaler.state_dict(),
        "micro_batch_size": trainer.micro_batch_size,
        "history": asdict(history),
    }
    save_checkpoint(training.folder, history.step, {**trainer.tuned.weights, **tensors}, state)


def _rescue(training: _Training) -> str:
    """Write the last good state as an adapter of its own; says where, and what to try."""
    trainer, folder = training.trainer, training.folder
    advice = f"try a learning_rate below {trainer.settings.learning_rate:g} in another folder"
    saved = newest_checkpoint(folder) if training.writes else None
    if saved is None:
        return f"nothing was saved before; {advice}"
    path = folder / ADAPTERS / f"step-{saved.step:06d}.safetensors"
    weights = {name: saved.tensors[name] for name in trainer.tuned.weights}
    history = check_record(str(folder), saved.state["history"], History)
    _adapter(training, weights, history).save(path)
    return f"the last good state, of step {saved.step}, is in {path}; {advice}"


def _watch(training: _Training) -> None:
    """Let the watcher draw, and keep what it drew and measured with the adapter of this step."""
    watch, history, tuned = training.asked.watch, training.history, training.trainer.tuned
    if watch is None or not training.writes:
        return
    name = f"step-{history.step:06d}"
    with as_when_drawing(tuned):
        portraits, figures = watch(tuned.model, history.step)
    for index, portrait in enumerate(portraits):
        portrait.save(training.folder / FILM / f"{name}-{index}.png")
    history.figures.append({"step": history.step, **figures})
    training.trainer.accelerator.log(figures, step=history.step)
    adapter = _adapter(training, tuned.tensors, history)
    sample = portraits[0].image if portraits else None
    replace(adapter, sample=sample).save(training.folder / ADAPTERS / f"{name}.safetensors")


def _adapter(training: _Training, tensors: dict[str, torch.Tensor], history: History) -> Adapter:
    """Weights as an adapter, with the recipe that made them."""
    asked = training.asked
    model, photos, settings = asked.model, asked.photos, asked.settings
    classes = asked.class_images
    captions = instance_captions(photos, settings)
    lora = settings.tune == "lora"
    recipe = {
        "function": "train_dreambooth",
        **{name: value for name, value in asdict(settings).items() if value is not None},
        "photos": [picture_hash(image) for image in photos.images],
        "captions": captions,
        "class_prompt": classes.prompt if classes else settings.class_prompt,
        "class_images": classes and {"count": len(classes), "digest": classes.digest},
        "device": str(model.device),
        "card": device_name(model.device),
        "dollars": history.cost.dollars,
        "versions": dict(library_versions()),
        **asdict(history),
    }
    return Adapter(
        settings.tune,
        tensors,
        rank=settings.rank or 0 if lora else 0,
        alpha=float(settings.alpha or 0) if lora else 0.0,
        base=model.name,
        base_revision=model.revision,
        identifier=photos.identifier,
        instance_prompt=captions[0],
        recipe=recipe,
    )
