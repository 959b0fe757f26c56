"""The only place that asks which device there is, which number type to use, and for noise."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from portraitlib.places import most_memory_gb
from portraitlib.settings import UsageError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def has_accelerator() -> bool:
    """Is there a CUDA or Apple (MPS) GPU that torch can use?"""
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The device to compute on: the one named, or the best there is (CUDA, then MPS, then CPU).

    name: "cpu", "cuda", "cuda:1", "mps", or None to choose; then each process of one launch gets a
        GPU of its own.
    Raises UsageError if the name is not a device, or that device is not here.
    """
    if name is None:
        if torch.cuda.is_available():
            return _own_gpu()
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    there = _devices_here()
    if device is None or str(device) not in there:
        raise UsageError(f"device: got {str(name)!r}, expected one of {', '.join(there)}")
    return device


def _own_gpu() -> torch.device:
    """The GPU of this process: one each where `accelerate launch` has started several."""
    place = os.environ.get("LOCAL_RANK", "")
    if not place.isdecimal():
        return torch.device("cuda")
    return torch.device("cuda", int(place) % torch.cuda.device_count())


def _devices_here() -> list[str]:
    names = ["cpu"]
    if torch.cuda.is_available():
        names += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names += ["mps", "mps:0"]
    return names


def pick_dtype(device: torch.device, gpu_dtype: str, asked: str | None = None) -> torch.dtype:
    """The number type to compute in: `asked`, or float32 on a CPU and `gpu_dtype` on a GPU.

    Raises UsageError for a type that is unknown, or that the device only emulates.
    """
    if asked is None:
        return torch.float32 if device.type == "cpu" else DTYPES[gpu_dtype]
    if asked not in DTYPES:
        raise UsageError(f"dtype: got {asked!r}, expected one of {', '.join(DTYPES)}")
    if device.type == "cpu" and asked != "float32":
        raise UsageError(
            f"dtype: got {asked!r} on a CPU, which computes it up to 20 times slower; try 'float32'"
        )
    if asked == "bfloat16" and device.type == "cuda" and not _has_bfloat16(device):
        raise UsageError(
            f"dtype: got 'bfloat16', which {torch.cuda.get_device_name(device)} can only emulate, "
            "slowly; try 'float16'"
        )
    return DTYPES[asked]


def computes_bfloat16(device: torch.device) -> bool:
    """Does a GPU or processor compute in bfloat16 by itself, so that mixed precision may pay?"""
    if device.type == "cpu":
        able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return device.type == "cuda" and _has_bfloat16(device)


def _has_bfloat16(device: torch.device) -> bool:
    """Does the GPU itself compute in bfloat16? A T4 says yes unless emulation is ruled out."""
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


def free_memory_gb(device: torch.device) -> float | None:
    """Free memory of a CUDA device in GB (10**9 bytes); None where main memory is shared."""
    if device.type != "cuda":
        return None
    return torch.cuda.mem_get_info(device)[0] / 1e9


def is_out_of_memory(problem: RuntimeError) -> bool:
    """Does an error say that memory ran short? torch.OutOfMemoryError and the CPU's do."""
    text = str(problem)
    return "out of memory" in text or "can't allocate memory" in text


def forget_freed_memory(device: torch.device) -> None:
    """Give memory that torch keeps for later back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def device_name(device: torch.device) -> str:
    """The name that a card gives itself, such as "Tesla T4"; "cpu" or "mps" for the others."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def gpu_ids() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls the CUDA devices that are there, one each."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    return [str(index) for index in range(torch.cuda.device_count())]


def peak_memory_gb(device: torch.device) -> float | None:
    """The most memory that this process has had in use, in GB (10**9 bytes); None if not known.

    On a CUDA device what torch had of the card's memory, elsewhere what the process had in main
    memory.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        (line,) = [line for line in lines if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024 / 1e9
    except (OSError, ValueError):
        pass
    return most_memory_gb("RUSAGE_SELF")


def put_on(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on a device; a GPU that is at work is not waited for."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def seeded_generators(seed: int, count: int) -> list[torch.Generator]:
    """One generator per image, seeded seed, seed + 1, ...; each image as if made alone.

    They live on the CPU, so that one seed means one picture on every device.
    """
    return [torch.Generator("cpu").manual_seed(seed + index) for index in range(count)]


def seeded_noise(
    generators: list[torch.Generator],
    shape: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Standard normal noise, (batch, *shape), row i from generator i.

    Drawn in float32 and then converted: float16 draws would be other numbers.
    """
    rows = [torch.randn(shape, generator=generator) for generator in generators]
    return torch.stack(rows).to(device, dtype)
