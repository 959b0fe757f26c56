"""JPEG as arithmetic on pictures, many at once and on any device: what it leaves of them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

# The tables of the standard's annex K, for brightness and for colour.
BRIGHTNESS = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
COLOUR = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def _on(planes: torch.Tensor, numbers: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(numbers, np.float32)).to(planes.device, non_blocking=True)


def jpeg(images: torch.Tensor, quality: np.ndarray) -> torch.Tensor:
    """The pictures as JPEG of a quality each gives them back, colour at half the resolution.

    images: (n, 3, side, side) in -1..1, the side a multiple of 16; quality: (n,), 1 to 100.
    """
    scale = np.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    tables = [
        np.clip((np.reshape(table, (8, 8)) * scale + 50) // 100, 1, 255)[:, None, None, :, None]
        for table in (BRIGHTNESS, COLOUR)
    ]
    to_ycc, back = _on(images, TO_YCC), _on(images, np.linalg.inv(TO_YCC))
    ycc = torch.einsum("ij,njyx->niyx", to_ycc, images * 127.5)
    bright = _quantised(ycc[:, :1], _on(images, tables[0]))
    colour = _quantised(F.avg_pool2d(ycc[:, 1:], 2), _on(images, tables[1]))
    ycc = torch.cat([bright, F.interpolate(colour, scale_factor=2, mode="bilinear")], 1)
    return (torch.einsum("ij,njyx->niyx", back, ycc) / 127.5).clamp(-1, 1)


def _quantised(planes: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
    """Planes (n, c, h, w) through the cosine transform of 8x8 pixels, rounded by the tables."""
    n, c, h, w = planes.shape
    k, x = np.arange(8)[:, None], np.arange(8)[None, :]
    cosines = 0.5 * np.cos((2 * x + 1) * k * np.pi / 16) * np.where(k == 0, 0.5**0.5, 1)
    turn = _on(planes, cosines)
    blocks = planes.reshape(n, c, h // 8, 8, w // 8, 8)
    waves = torch.einsum("ky,ncaybx,lx->ncakbl", turn, blocks, turn)
    tables = tables.reshape(n, 1, 1, 8, 1, 8)
    waves = (waves / tables).round() * tables
    return torch.einsum("ky,ncakbl,lx->ncaybx", turn, waves, turn).reshape(n, c, h, w)
