"""Which cells of a sweep one call draws, and the call that draws them.

A block is a list of rows of cells: a row are variants that share steps, and the rows are seeds that
follow each other and make one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from portraitlib.generate.calls import TOGETHER, Together, same, setting_names
from portraitlib.portrait import Portrait
from portraitlib.settings import Sampling

Block = list[list[int]]  # numbers of cells
Arguments = Mapping[str, Any]


@dataclass
class _Growing:
    """A block that cells are still added to.

    others: the varied values that are the same in all its cells.
    rows: seed -> the variants' own values and the cells that have them.
    """

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
        alike = (b for b in blocks if all(map(same, b.others, others)))
        block = next(alike, None)
        if block is None:
            blocks.append(block := _Growing(others))
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
) -> Iterator[dict[int, list[Portrait] | Exception]]:
    """What came of the cells of a block, as they are finished; what one call cannot draw, apart."""
    waiting = dict.fromkeys(cell for row in block for cell in row)
    if len(waiting) > 1:
        try:
            for drawn in _draw_together(function, block, calls):
                for cell in drawn:
                    del waiting[cell]
                yield dict(drawn)
        except Exception:  # one cell may be the cause, so each is tried by itself
            pass
    for cell in waiting:
        try:
            yield {cell: list(function(**calls[cell]))}
        except Exception as failure:  # whatever happened in one cell, the others are still wanted
            yield {cell: failure}


def _draw_together(
    function: Callable[..., list[Portrait]], block: Block, calls: Sequence[Arguments]
) -> Iterator[dict[int, list[Portrait]]]:
    """The portraits of every cell, from one call, a column of the block at a time."""
    arguments = dict(calls[block[0][0]])
    count = arguments["sampling"].num_images
    if len(block) > 1:
        whole = replace(arguments["sampling"], num_images=count * len(block))
        arguments["sampling"] = whole
    variants = TOGETHER[function].variants
    columns: Iterable[tuple[int, list[Portrait]]]
    if variants is None:
        columns = enumerate([function(**arguments)])
    else:
        many = [calls[cell][variants.argument] for cell in block[0]]
        columns = variants.draw(**{**arguments, variants.argument: many})
    for number, portraits in columns:
        yield {
            row[number]: portraits[index * count : (index + 1) * count]
            for index, row in enumerate(block)
        }
