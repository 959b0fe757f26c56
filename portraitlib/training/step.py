"""One update of the weights: a forward pass, a weighted loss, and the optimizer.

And what goes with it: the processes that share a step, and Ctrl-C, which does not break into one.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from portraitlib.device import DTYPES, forget_freed_memory, is_out_of_memory, put_on
from portraitlib.models.load import Model
from portraitlib.settings import DreamBooth, UsageError
from portraitlib.training.data import Batch, TrainingData, encode_learning
from portraitlib.training.networks import Tuned

MOST_GRADIENT = 1.0  # the norm of all gradients together is cut to it
LEAST_RATE = 0.05  # of the learning rate, where the schedule ends


@dataclass(eq=False)
class Trainer:
    """What an update needs, and what it changes: weights, optimizer, and the micro-batch.

    kept: what each noise level leaves of a picture, (levels,).
    words: states and pooled of each caption and of none, as the untouched encoders say them.
    micro_batch_size: pictures in one forward pass, halved whenever memory runs short.
    """

    model: Model
    tuned: Tuned
    settings: DreamBooth
    accelerator: Any
    optimizer: torch.optim.Optimizer
    scaler: Any
    network: Any
    kept: torch.Tensor
    data: TrainingData | None = None
    words: tuple[torch.Tensor, torch.Tensor] | None = None
    micro_batch_size: int = 0

    @property
    def names(self) -> list[str]:
        """The names of the weights, in the optimizer's order."""
        return sorted(self.tuned.weights, key=lambda name: not name.startswith("unet."))


def make_trainer(model: Model, tuned: Tuned, settings: DreamBooth, accelerator: Any) -> Trainer:
    """The optimizer and all else around the networks that are trained."""
    unet = tuned.parts["unet"]
    count = settings.train_batch_size or 1
    if count % accelerator.num_processes:
        raise UsageError(
            f"DreamBooth.train_batch_size: got {count} with {accelerator.num_processes} processes, "
            f"expected a multiple; try {accelerator.num_processes}"
        )
    halves = _precision(model, settings) == "float16"
    tuned.train()
    return Trainer(
        model,
        tuned,
        settings,
        accelerator,
        optimizer=_optimizer(tuned, settings),
        # Small float16 gradients would vanish: they are scaled up, and the scale finds itself.
        scaler=torch.amp.GradScaler(model.device.type, enabled=halves),
        network=torch.compile(unet) if settings.compile else unet,
        kept=model.pipeline.scheduler.alphas_cumprod.to(model.device, torch.float32),
        micro_batch_size=settings.micro_batch_size or 0,
    )


def _optimizer(tuned: Tuned, settings: DreamBooth) -> torch.optim.Optimizer:
    rates = {"unet": settings.learning_rate, "text": settings.text_learning_rate}
    groups = [
        {"params": [w for name, w in tuned.weights.items() if name.startswith(part)]}
        | {"lr": rate, "initial_lr": rate}
        for part, rate in rates.items()
        if rate
    ]
    if settings.optimizer == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(groups, weight_decay=settings.weight_decay)
    if settings.optimizer == "prodigy":
        from prodigyopt import Prodigy

        return Prodigy(groups, weight_decay=settings.weight_decay, use_bias_correction=True)
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)


def update(trainer: Trainer, step: int) -> torch.Tensor:
    """Do step `step`, from 0: change the weights once; returns the loss before it, on its device.

    Everything follows from (seed, step). Out of memory, it does the step again in smaller parts.
    """
    assert trainer.data is not None
    settings, accelerator = trainer.settings, trainer.accelerator
    whole = trainer.data.batch(settings, step, len(trainer.kept))
    batch = whole.part(slice(accelerator.process_index, None, accelerator.num_processes))
    trainer.micro_batch_size = min(trainer.micro_batch_size or len(batch), len(batch))
    while True:
        try:
            loss = _accumulate(trainer, batch)
            break
        except RuntimeError as problem:  # torch.OutOfMemoryError is one
            if not is_out_of_memory(problem):
                raise
        if trainer.micro_batch_size == 1:
            raise UsageError(
                f"out of memory while training {trainer.model.name} on one picture at a time; try "
                "gradient_checkpointing=True, a smaller rank, or layers='attention'"
            )
        trainer.micro_batch_size = math.ceil(trainer.micro_batch_size / 2)
        forget_freed_memory(trainer.model.device)
    if accelerator.num_processes > 1:
        _sum_gradients(trainer)
    for group in trainer.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * rate_share(settings, step)
    trainer.scaler.unscale_(trainer.optimizer)
    torch.nn.utils.clip_grad_norm_(list(trainer.tuned.weights.values()), MOST_GRADIENT)
    trainer.scaler.step(trainer.optimizer)
    trainer.scaler.update()
    return loss


def rate_share(settings: DreamBooth, step: int) -> float:
    """The share of the learning rate at a step: it warms up, then falls by the schedule."""
    total, warm = settings.max_train_steps or 1, settings.lr_warmup_steps
    warmed = min(1.0, (step + 1) / (warm + 1))
    way = max(0.0, (step - warm) / max(1, total - warm))
    falls = {"constant": 1.0, "linear": 1 - way, "cosine": (1 + math.cos(math.pi * way)) / 2}
    return warmed * (LEAST_RATE + (1 - LEAST_RATE) * falls[settings.lr_scheduler])


def _accumulate(trainer: Trainer, batch: Batch) -> torch.Tensor:
    """Gradients of the whole batch, from as many forward passes as memory wants."""
    trainer.optimizer.zero_grad(set_to_none=True)
    losses = []
    for start in range(0, len(batch), trainer.micro_batch_size):
        part = batch.part(slice(start, start + trainer.micro_batch_size))
        loss = weighted_error(trainer, part)
        trainer.scaler.scale(loss).backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()


def _sum_gradients(trainer: Trainer) -> None:
    """Add the gradients of all processes, each of which has seen its share of the batch."""
    weights = trainer.tuned.weights.values()
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    summed = trainer.accelerator.reduce(flat, reduction="sum")
    parts = summed.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def weighted_error(trainer: Trainer, batch: Batch) -> torch.Tensor:
    """The weighted error of the network's answers; each sample has its own weights."""
    settings, model = trainer.settings, trainer.model
    kept = trainer.kept[batch.times]
    a = kept[:, None, None, None]
    noisy = a.sqrt() * batch.latents + (1 - a).sqrt() * batch.noise
    precision = _precision(model, settings)
    mixed = precision != "float32"
    with torch.autocast(model.device.type, DTYPES[precision]) if mixed else nullcontext():
        if settings.text_learning_rate and trainer.data is not None:
            words = encode_learning(trainer.tuned.model, trainer.data.captions, batch.texts)
        else:
            words = _words(trainer, batch)
        got = _answer(trainer.network, noisy, batch, words)
        wanted = _target(model, batch, a)
        first = int((~batch.of_class).sum())
        if settings.class_prompt is not None and first < len(batch):
            # No class images: what the untouched model, its encoders too, answers is held.
            rows = slice(first, None)
            with torch.no_grad():
                part = batch.part(rows)
                untouched = _words(trainer, part)
                held = _answer(model.pipeline.unet, noisy[rows], part, untouched)
            wanted = torch.cat([wanted[:first], held])
    error = (got - wanted).square().mean(1, keepdim=True)
    if batch.masks is not None:
        error = error * batch.masks / batch.masks.mean((1, 2, 3), keepdim=True).clamp(min=1e-3)
    return (error.mean((1, 2, 3)) * _snr_weights(model, settings, kept) * batch.weights).sum()


def _words(trainer: Trainer, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """What the untouched text encoders say of each sample's caption: states and pooled."""
    assert trainer.words is not None
    rows = put_on(batch.texts, trainer.model.device)
    states, pooled = trainer.words
    return states[rows], pooled[rows]


def _answer(
    network: Any, noisy: torch.Tensor, batch: Batch, words: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """What a network predicts, in float32."""
    conditions = {"text_embeds": words[1], "time_ids": batch.sizes}
    answer = network(
        noisy, batch.times, encoder_hidden_states=words[0], added_cond_kwargs=conditions
    )
    return answer.sample.float()


def _target(model: Model, batch: Batch, a: torch.Tensor) -> torch.Tensor:
    """What the network should answer, by what it was taught to predict."""
    kind = model.pipeline.scheduler.config.prediction_type
    if kind == "v_prediction":
        return a.sqrt() * batch.noise - (1 - a).sqrt() * batch.latents
    return batch.latents if kind == "sample" else batch.noise


def _snr_weights(model: Model, settings: DreamBooth, kept: torch.Tensor) -> torch.Tensor:
    """Min-SNR weights (https://arxiv.org/abs/2303.09556), (batch,)."""
    if settings.snr_gamma is None:
        return torch.ones_like(kept)
    ratio = kept / (1 - kept)
    kind = model.pipeline.scheduler.config.prediction_type
    if kind == "v_prediction":
        return ratio.clamp(max=settings.snr_gamma) / (ratio + 1)
    if kind == "sample":
        return ratio.clamp(max=settings.snr_gamma)
    return (settings.snr_gamma / ratio).clamp(max=1)  # also where nothing is left of the picture


def _precision(model: Model, settings: DreamBooth) -> str:
    return settings.precision or model.dtype_name


# --- processes, and Ctrl-C --------------------------------------------------------------------


def _are_several() -> bool:
    """Do several processes train? One alone need not say on which device, once for all."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def first_alone(model: Model) -> AbstractContextManager[Any]:
    """Of several processes the first works, and the others find what it has made."""
    from accelerate import PartialState

    if not _are_several():
        return nullcontext()
    return PartialState(cpu=model.device.type == "cpu").main_process_first()


def start_accelerator(model: Model, place: Path, trackers: tuple[str, ...] | None) -> Any:
    """Processes and trackers; number types and gradients are the trainer's own."""
    from accelerate import Accelerator
    from accelerate.utils import is_tensorboard_available

    if trackers is None:
        trackers = ("tensorboard",) if is_tensorboard_available() else ()

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it says of missing trackers is said below
            accelerator = Accelerator(
                cpu=_are_several() and model.device.type == "cpu",
                log_with=list(trackers) or None,
                project_dir=place / "logs",
            )
    except (ImportError, ValueError) as problem:
        raise UsageError(f"trackers: got {list(trackers)}: {problem}") from None
    if missing := set(trackers) - {str(tracker) for tracker in accelerator.log_with}:
        name = sorted(missing)[0]
        raise UsageError(f"trackers: got {name!r}, which is not installed; pip install {name}")
    return accelerator


@contextmanager
def tracked(accelerator: Any) -> Iterator[None]:
    """Let the trackers write meanwhile."""
    accelerator.init_trackers("training")
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()  # the processes stay together, for the next training


def is_any(trainer: Trainer, here: bool) -> bool:
    """Is it so in any of the processes?"""
    flag = torch.tensor(float(here), device=trainer.model.device)
    return bool(trainer.accelerator.reduce(flag, reduction="sum"))


@contextmanager
def hold_interrupts() -> Iterator[threading.Event]:
    """Note Ctrl-C rather than break off, so that a step is done or not; a second one breaks off.

    Outside the main thread, where Python takes no signals, nothing changes.
    """
    interrupt = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def note(number: int, frame: object) -> None:
        if interrupt.is_set():
            raise KeyboardInterrupt
        interrupt.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
