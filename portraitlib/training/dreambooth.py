"""Teach a model a face: DreamBooth, by a LoRA or by all weights (https://arxiv.org/abs/2208.12242).

A run keeps everything in its folder and goes on where it was stopped, bit for bit.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from portraitlib.cost import Budget, cost_of
from portraitlib.device import device_name
from portraitlib.generate.images import library_versions
from portraitlib.models.adapters import Adapter
from portraitlib.models.load import Model
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.photos.pictures import picture_hash
from portraitlib.places import cache_folder, digest, output_folder
from portraitlib.portrait import Portrait
from portraitlib.settings import DreamBooth, Range, UsageError, check_number
from portraitlib.training.check import check_training
from portraitlib.training.checkpoints import (
    Run,
    check_room,
    newest_checkpoint,
    open_run,
    save_checkpoint,
)
from portraitlib.training.class_set import ClassImages
from portraitlib.training.data import encode_captions, instance_captions, prepare_data
from portraitlib.training.interrupt import Interrupt, hold_interrupts
from portraitlib.training.meter import Progress, TrainingMeter, progress_of, training_cost
from portraitlib.training.optimizer_state import load_optimizer, optimizer_tensors
from portraitlib.training.step import Trainer, make_trainer, update
from portraitlib.training.tuned import as_when_drawing, encoders_resting, tune

DEFAULT_TRAINING = DreamBooth()
READ_LOSS_EVERY = 10  # steps: reading it makes a GPU wait
WATCH_EVERY = Range(1, 1_000_000, "updates between two looks", example=100)
SMOOTH = 0.05  # what one step counts in the smoothed loss
# What may be another when a run goes on: it changes how it is computed, not what.
FREE = ("save_every_steps", "micro_batch_size", "compile", "gradient_checkpointing")
ADAPTERS, FILM = "adapters", "film"  # folders of a run: adapters on the way, and what they draw


# Draws with the model as it is after so many steps: portraits to keep, and figures of them.
Watch = Callable[[Model, int], tuple[list[Portrait], dict[str, float]]]


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

    class_images: pictures of others of the class, which keep the class word from becoming the
        person (prior preservation); None for none.
    folder: of the run; None for one among the project's runs, found by content. A run that was
        stopped there goes on, bit for bit; one that is complete is not trained again.
    watch: called before the first step, after every `watch_every` steps and after the last, with
        the model as it is and the step; `film_strip` makes one. What it gives is kept in the folder
        with the adapter of that step: `read_film`. A run that goes on calls it with the untouched
        model and 0 first, and keeps nothing of that.
    trackers: names that accelerate knows, such as "wandb"; they write into the folder's `logs`.
        None is TensorBoard where it is installed, () is none.
    on_step: called with a Progress every ten steps and after the last.
    budget: the most that the training may cost, earlier runs of it included and class images not;
        asked before the first step, every ten steps and after each save.

    Ctrl-C saves, then says how to go on. Out of memory halves `micro_batch_size`. A loss or weights
    that are no numbers stop the run; the last good state stays, and is an adapter of its own.
    Raises BudgetSpent when the budget is used up: the run is saved and goes on with a larger one.
    Raises UsageError in one line for photos, prompts or settings that cannot be trained with, a
    folder that holds another run or is in use, and a disk that is full; nothing saved is lost.
    """
    watch_every = int(check_number("train_dreambooth", "watch_every", watch_every, WATCH_EVERY))
    chosen = check_training(model, photos, settings, class_images)
    if budget:  # one in dollars needs a rate
        budget.check(cost_of(0.0, device_name(model.device)))
    identity = _identity(model, photos, chosen, class_images)
    place = cache_folder("training") / digest(identity)
    place = place if folder is None else output_folder(folder)
    accelerator = _accelerator(model, place, trackers)
    with open_run(place, identity) if accelerator.is_main_process else nullcontext() as run:
        accelerator.wait_for_everyone()
        tuned = tune(model, chosen)
        if run:  # each weight is saved with the two moments that AdamW keeps of it
            check_room(run, 3 * sum(weight.nbytes for weight in tuned.weights.values()))
        trainer = make_trainer(model, tuned, chosen, accelerator)
        history = _resume(place, trainer)
        describe = _describer(model, photos, chosen, class_images)
        begun = history["step"]
        if begun < history["total"]:
            meter = TrainingMeter(history, model.device, place, budget)
            if why := meter.why_spent():
                raise meter.spent(why)
            reported = _Reported(run, describe, watch, watch_every, on_step, meter)
            with _tracked(accelerator), meter:
                trainer.data = prepare_data(model, photos, chosen, class_images)
                trainer.words = encode_captions(model, trainer.data.captions)
                if watch and run and begun:  # it may compare with what there was before
                    watch(model, 0)
                with hold_interrupts() as interrupt:
                    _train(trainer, history, reported, interrupt)
        adapter = describe(tuned.tensors, history)
        path = place / "adapter.safetensors"
        if run and (begun < history["total"] or not path.exists()):
            adapter.save(path)
    return adapter


def _identity(
    model: Model, photos: PhotoSet, settings: DreamBooth, class_images: ClassImages | None
) -> dict[str, Any]:
    """All that decides what a run computes, named as its user knows it."""
    return {
        "model": model.name,
        "model_revision": model.revision,
        "adapters": model.adapter_entries,
        "photos": digest([picture_hash(image) for image in photos.images]),
        "masks": digest([photo.mask and picture_hash(photo.mask) for photo in photos])
        if any(photo.mask for photo in photos)
        else None,
        "captions": instance_captions(photos, settings),
        "crops": digest([photo.conditioning for photo in photos])
        if model.preset.knows_sizes
        else None,
        "class_images": class_images and class_images.digest,
        **{name: value for name, value in asdict(settings).items() if name not in FREE},
    }


def _accelerator(model: Model, place: Path, trackers: tuple[str, ...] | None) -> Any:
    """Processes and trackers; number types and gradients are the trainer's own."""
    from accelerate import Accelerator
    from accelerate.utils import is_tensorboard_available

    if trackers is None:
        trackers = ("tensorboard",) if is_tensorboard_available() else ()

    # One process alone needs no word of the device, which could not be another one later.
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it says of missing trackers is said below
            accelerator = Accelerator(
                cpu=several and model.device.type == "cpu",
                log_with=list(trackers) or None,
                project_dir=place / "logs",
            )
    except (ImportError, ValueError) as problem:
        raise UsageError(f"trackers: got {list(trackers)}: {problem}") from None
    if missing := set(trackers) - {str(each) for each in accelerator.log_with}:
        name = sorted(missing)[0]
        raise UsageError(f"trackers: got {name!r}, which is not installed; pip install {name}")
    return accelerator


@contextmanager
def _tracked(accelerator: Any) -> Iterator[None]:
    accelerator.init_trackers("training")
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()  # the processes stay together, for the next training


# --- the loop ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reported:
    """Who is told of a training; run is None in all processes but the first."""

    run: Run | None
    describe: Callable[[Mapping[str, torch.Tensor], Mapping[str, Any]], Adapter]
    watch: Watch | None
    watch_every: int
    on_step: Callable[[Progress], None] | None
    meter: TrainingMeter


def _train(
    trainer: Trainer, history: dict[str, Any], reported: _Reported, interrupt: Interrupt
) -> None:
    """Run the steps that are left; the history is kept up to date and saved with the weights."""
    total, settings = history["total"], trainer.settings
    losses: list[torch.Tensor] = []
    with encoders_resting(trainer.tuned, offloaded=trainer.model.offloaded):
        _watch_first(trainer, history, reported)
        before_s, started_s = history["seconds"], time.perf_counter()
        for step in range(history["step"], total):
            losses.append(update(trainer, step))
            done = step + 1
            stopped = _stopped(trainer, interrupt, done)
            watched = done % reported.watch_every == 0 or done == total
            saved = done % settings.save_every_steps == 0 or done == total or stopped
            if not (done % READ_LOSS_EVERY == 0 or watched or saved):
                continue
            _read_losses(trainer, losses, history, done, reported)
            history["seconds"] = before_s + time.perf_counter() - started_s
            paused_s = time.perf_counter()
            try:
                if watched:
                    _watch(trainer, history, reported)
                if reported.on_step:
                    reported.meter.note()
                    reported.on_step(progress_of(history))
            except BaseException:  # what was learnt outlives a watcher that fails
                _save(trainer, history, reported)
                raise
            spent = None if done == total else _why_spent(trainer, reported.meter)
            if watched or saved or spent:
                _save(trainer, history, reported)
            started_s += time.perf_counter() - paused_s  # watching is no training
            if stopped:
                where = reported.run.folder if reported.run else "its folder"
                raise KeyboardInterrupt(
                    f"stopped after step {done} of {total}, saved in {where}; "
                    "run the same again to go on from there"
                )
            if spent:
                raise reported.meter.spent(spent)


def _watch_first(trainer: Trainer, history: dict[str, Any], reported: _Reported) -> None:
    """Watch before the first step, or where the watcher failed when the run was here before."""
    step, seen = history["step"], [row["step"] for row in history["figures"]]
    if step % reported.watch_every == 0 and step not in seen:
        _watch(trainer, history, reported)


def _stopped(trainer: Trainer, interrupt: Interrupt, done: int) -> bool:
    """Has Ctrl-C been pressed? Several processes stop at the same step, once one was asked to."""
    accelerator = trainer.accelerator
    if accelerator.num_processes == 1 or done % READ_LOSS_EVERY:
        return interrupt.asked and accelerator.num_processes == 1
    asked = torch.tensor(float(interrupt.asked), device=trainer.model.device)
    return bool(accelerator.reduce(asked, reduction="sum"))


def _why_spent(trainer: Trainer, meter: TrainingMeter) -> str | None:
    """Why the budget is used up, if it is; several processes, with a clock each, stop together."""
    meter.note()
    why, accelerator = meter.why_spent(), trainer.accelerator
    if accelerator.num_processes > 1:
        asked = torch.tensor(float(why is not None), device=trainer.model.device)
        if accelerator.reduce(asked, reduction="sum"):
            return why or f"the budget of {meter.budget} is used up"
    return why


def _read_losses(
    trainer: Trainer,
    losses: list[torch.Tensor],
    history: dict[str, Any],
    done: int,
    reported: _Reported,
) -> None:
    """Add the losses since the last time to the history; stops where something is no number."""
    summed = trainer.accelerator.reduce(torch.stack(losses), reduction="sum").tolist()
    losses.clear()
    for value in summed:
        smooth = history["loss"]
        history["loss"] = value if smooth is None else smooth + SMOOTH * (value - smooth)
    if not math.isfinite(history["loss"]):
        raise UsageError(
            f"the loss is not a number after step {done}; {_rescue(trainer, reported)}"
        )
    history["step"] = done
    history["curve"].append([done, round(history["loss"], 6)])
    trainer.accelerator.log({"loss": history["loss"]}, step=done)


def _save(trainer: Trainer, history: dict[str, Any], reported: _Reported) -> None:
    """Save all that the run needs to go on, but no weights that are no numbers."""
    step = history["step"]
    # The loss was of the weights before the last update; this is of those after it.
    finite = torch.stack([weight.isfinite().all() for weight in trainer.tuned.weights.values()])
    if not finite.all():
        raise UsageError(
            f"the weights are no numbers after step {step}; {_rescue(trainer, reported)}"
        )
    reported.meter.note()
    if reported.run:
        tensors, optimizer = _state(trainer)
        save_checkpoint(reported.run, step, tensors, {**optimizer, "history": history})


def _rescue(trainer: Trainer, reported: _Reported) -> str:
    """Write the last good state as an adapter of its own; says where, and what to try."""
    advice = f"try a learning_rate below {trainer.settings.learning_rate:g} in another folder"
    found = newest_checkpoint(reported.run.folder) if reported.run else None
    if found is None or reported.run is None:
        return f"nothing was saved before; {advice}"
    path = reported.run.folder / ADAPTERS / f"step-{found.step:06d}.safetensors"
    weights = {name: found.tensors[name] for name in trainer.tuned.weights}
    reported.describe(weights, found.state["history"]).save(path)
    return f"the last good state, of step {found.step}, is in {path}; {advice}"


def _watch(trainer: Trainer, history: dict[str, Any], reported: _Reported) -> None:
    """Let the watcher draw, and keep what it drew and measured with the adapter of this step."""
    if reported.watch is None or reported.run is None:
        return
    step, folder = history["step"], reported.run.folder
    with as_when_drawing(trainer.tuned):
        portraits, figures = reported.watch(trainer.tuned.model, step)
    for index, portrait in enumerate(portraits):
        portrait.save(folder / FILM / f"step-{step:06d}-{index}.png")
    history["figures"].append({"step": step, **figures})
    trainer.accelerator.log(figures, step=step)
    adapter = replace(
        reported.describe(trainer.tuned.tensors, history),
        sample=portraits[0].image if portraits else None,
    )
    adapter.save(folder / ADAPTERS / f"step-{step:06d}.safetensors")


# --- what is kept --------------------------------------------------------------------------------


def _state(trainer: Trainer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """All that a run needs to go on: tensors by name, and plain JSON values."""
    tensors, optimizer = optimizer_tensors(trainer.optimizer, trainer.names)
    weights = {name: weight.detach() for name, weight in trainer.tuned.weights.items()}
    state = {"optimizer": optimizer, "scaler": trainer.scaler.state_dict()}
    return {**weights, **tensors}, {**state, "micro_batch_size": trainer.micro_batch_size}


def _resume(place: Path, trainer: Trainer) -> dict[str, Any]:
    """Load the newest whole checkpoint, if there is one; the history of the run so far."""
    found = newest_checkpoint(place)
    if found is None:
        nothing = {"step": 0, "total": trainer.settings.max_train_steps, "loss": None}
        spent = {"seconds": 0.0, "spent_s": {}, "peak_memory_gb": None}
        return {**nothing, **spent, "curve": [], "figures": []}
    trainer.tuned.load(found.tensors)
    load_optimizer(trainer.optimizer, trainer.names, found.tensors, found.state["optimizer"])
    trainer.scaler.load_state_dict(found.state["scaler"])
    trainer.micro_batch_size = trainer.settings.micro_batch_size or found.state["micro_batch_size"]
    return found.state["history"]


def _describer(
    model: Model,
    photos: PhotoSet,
    settings: DreamBooth,
    class_images: ClassImages | None,
) -> Callable[[Mapping[str, torch.Tensor], Mapping[str, Any]], Adapter]:
    """Makes an Adapter of weights, with the recipe that made them."""
    captions = instance_captions(photos, settings)
    scaling = (
        (settings.rank or 0, float(settings.alpha or 0)) if settings.tune == "lora" else (0, 0.0)
    )

    def describe(tensors: Mapping[str, torch.Tensor], history: Mapping[str, Any]) -> Adapter:
        recipe = {
            "function": "train_dreambooth",
            **{name: value for name, value in asdict(settings).items() if value is not None},
            "photos": [picture_hash(image) for image in photos.images],
            "captions": captions,
            "class_prompt": class_images.prompt if class_images else settings.class_prompt,
            "class_images": class_images
            and {"count": len(class_images), "digest": class_images.digest},
            "device": str(model.device),
            "card": device_name(model.device),
            "dollars": training_cost(history).dollars,
            "versions": dict(library_versions()),
            **history,
        }
        return Adapter(
            *(settings.tune, dict(tensors), *scaling),
            base=model.name,
            base_revision=model.revision,
            identifier=photos.identifier,
            instance_prompt=captions[0],
            recipe=recipe,
        )

    return describe
