"""Which cells of a sweep one call draws, and the call that draws them.

A block is a list of rows of cells: a row are variants that share steps, and the rows are seeds that
follow each other and make one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from portraitlib.calls import TOGETHER, Together, same, setting_names
from portraitlib.portrait import Portrait
from portraitlib.settings import Sampling

Block = list[list[int]]  # numbers of cells
Arguments = Mapping[str, Any]


@dataclass
class _Growing:
    """A block that cells are still added to.

    kin: what its variants share.  others: the varied values that are the same in all its cells.
    rows: seed -> the variants' own values and the cells that have them.
    """

    kin: Hashable
    others: list[Any]
    rows: dict[int | None, list[tuple[list[Any], int]]] = field(default_factory=dict)


def make_blocks(
    function: Callable[..., Any],
    held: Arguments,
    combinations: Sequence[Mapping[str, Any]],
    calls: Sequence[Arguments],
    missing: Sequence[int],
) -> list[Block]:
    """Put the missing cells into as few calls as the function can draw them in.

    combinations, calls: of all cells, the settings that are varied and all arguments.
    """
    together = TOGETHER.get(function)
    if together is None:
        return [[[cell]] for cell in missing]
    owners = setting_names(held)
    variants = together.variants
    argument = variants.argument if variants else None
    batched = owners.get("seed") == "sampling" and isinstance(held["sampling"], Sampling)
    blocks: list[_Growing] = []
    for cell in missing:
        chosen = dict(combinations[cell])
        seed = chosen.pop("seed", None) if batched else None
        own = [value for name, value in chosen.items() if owners[name] == argument]
        others = [value for name, value in chosen.items() if owners[name] != argument]
        kin = variants.kin(calls[cell][variants.argument]) if variants else None
        alike = (b for b in blocks if b.kin == kin and all(map(same, b.others, others)))
        block = next(alike, None)
        if block is None:
            blocks.append(block := _Growing(kin, others))
        block.rows.setdefault(seed, []).append((own, cell))
    return [part for block in blocks for part in _batches(block, together, calls)]


def _batches(block: _Growing, together: Together, calls: Sequence[Arguments]) -> Iterator[Block]:
    """Cut a block where the seeds do not follow each other, and where a batch is full."""
    part: Block = []
    values: list[list[Any]] = []
    for row in block.rows.values():
        cells, own = [cell for _, cell in row], [value for value, _ in row]
        first = calls[cells[0]]
        if part:
            images = first["sampling"].num_images
            due = calls[part[0][0]]["sampling"].seed + len(part) * images
            fits = (len(part) + 1) * images <= together.most_images(first)
            like = len(own) == len(values) and all(
                all(map(same, one, other)) for one, other in zip(own, values, strict=True)
            )
            if not (due == first["sampling"].seed and fits and like):
                yield part
                part = []
        values = own
        part = [*part, cells]
    yield part


def draw_block(
    function: Callable[..., list[Portrait]], block: Block, calls: Sequence[Arguments]
) -> Iterator[tuple[int, list[Portrait] | Exception]]:
    """What came of each cell of a block; in one call, or apart if that fails."""
    if sum(map(len, block)) > 1:
        try:
            drawn = _draw_together(function, block, calls)
        except Exception:  # one cell may be the cause, so each is tried by itself
            drawn = {}
        if drawn:
            yield from drawn.items()
            return
    for cell in (cell for row in block for cell in row):
        try:
            yield cell, list(function(**calls[cell]))
        except Exception as failure:  # whatever happened in one cell, the others are still wanted
            yield cell, failure


def _draw_together(
    function: Callable[..., list[Portrait]], block: Block, calls: Sequence[Arguments]
) -> dict[int, list[Portrait]]:
    """The portraits of every cell, from one call."""
    arguments = dict(calls[block[0][0]])
    count = arguments["sampling"].num_images
    if len(block) > 1:
        whole = replace(arguments["sampling"], num_images=count * len(block))
        arguments["sampling"] = whole
    variants = TOGETHER[function].variants
    if variants is None:
        columns = [function(**arguments)]
    else:
        del arguments[variants.argument]
        arguments[variants.many] = [calls[cell][variants.argument] for cell in block[0]]
        columns = variants.draw(**arguments)
    return {
        cell: portraits[index * count : (index + 1) * count]
        for index, row in enumerate(block)
        for cell, portraits in zip(row, columns, strict=True)
    }
