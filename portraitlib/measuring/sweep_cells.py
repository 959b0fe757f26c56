"""Which cells of a sweep one call draws, and the call that draws them.

A cell is one combination of values, and known by its number. A block is what one call draws: rows
of cells. A row are variants that share steps, such as several scales of a condition; the rows are
seeds that follow each other and make one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from portraitlib.generate.calls import TOGETHER, same, setting_names
from portraitlib.portrait import Portrait
from portraitlib.settings import Sampling

Arguments = Mapping[str, Any]
Block = Sequence[Sequence[int]]


@dataclass(frozen=True)
class _Cell:
    """A cell by what it is drawn with.

    seed: None where seeds make no batch.  variant: the values that can share steps.  rest: all
    other varied values.  arguments: of the call that draws it alone.
    """

    number: int
    seed: int | None
    variant: tuple[Any, ...]
    rest: tuple[Any, ...]
    arguments: Arguments


def make_blocks(
    function: Callable[..., Any],
    held: Arguments,
    combinations: Sequence[Mapping[str, Any]],
    calls: Sequence[Arguments],
) -> list[Block]:
    """Put the cells into as few calls as the function can draw them in.

    combinations, calls: of each cell, the settings that are varied and all arguments.
    """
    together = TOGETHER.get(function)
    if together is None:
        return [[[number]] for number in range(len(calls))]
    groups: list[list[_Cell]] = []  # of cells that differ in seed and variant alone
    for cell in _cells(function, held, combinations, calls):
        group = next((group for group in groups if _all_same(group[0].rest, cell.rest)), None)
        if group is None:
            groups.append([cell])
        else:
            group.append(cell)
    blocks: list[list[list[_Cell]]] = []
    for group in groups:
        blocks.append([])
        for row in _rows_by_seed(group):
            if blocks[-1] and not _follows(row, blocks[-1], together.most_images):
                blocks.append([])
            blocks[-1].append(row)
    return [[[cell.number for cell in row] for row in block] for block in blocks]


def _cells(
    function: Callable[..., Any],
    held: Arguments,
    combinations: Sequence[Mapping[str, Any]],
    calls: Sequence[Arguments],
) -> Iterator[_Cell]:
    """The cells of a sweep, their varied values told apart by what can be done with them."""
    owners = setting_names(held)
    variants = TOGETHER[function].variants
    sharing = variants.argument if variants else None
    batched = owners.get("seed") == "sampling" and isinstance(held["sampling"], Sampling)
    for number, (chosen, arguments) in enumerate(zip(combinations, calls, strict=True)):
        values = dict(chosen)
        seed = values.pop("seed", None) if batched else None
        variant = tuple(value for name, value in values.items() if owners[name] == sharing)
        rest = tuple(value for name, value in values.items() if owners[name] != sharing)
        yield _Cell(number, seed, variant, rest, arguments)


def _rows_by_seed(group: Sequence[_Cell]) -> list[list[_Cell]]:
    rows: dict[int | None, list[_Cell]] = {}
    for cell in group:
        rows.setdefault(cell.seed, []).append(cell)
    return list(rows.values())


def _follows(
    row: Sequence[_Cell],
    block: Sequence[Sequence[_Cell]],
    most_images: Callable[[Arguments], int],
) -> bool:
    """Whether a row has the seed that comes next in a block, the same variants, and room in it."""
    arguments = row[0].arguments
    images = arguments["sampling"].num_images
    next_seed = block[0][0].arguments["sampling"].seed + len(block) * images
    same_variants = len(row) == len(block[0]) and all(
        _all_same(one.variant, other.variant) for one, other in zip(row, block[0], strict=True)
    )
    fits = (len(block) + 1) * images <= most_images(arguments)
    return arguments["sampling"].seed == next_seed and same_variants and fits


def _all_same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return all(map(same, one, other))


# --- drawing -------------------------------------------------------------------------------------


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
        arguments["sampling"] = replace(arguments["sampling"], num_images=count * len(block))
    variants = TOGETHER[function].variants
    columns: Iterable[tuple[int, list[Portrait]]]
    if variants is None:
        columns = [(0, function(**arguments))]
    else:
        many = [calls[cell][variants.argument] for cell in block[0]]
        columns = variants.draw(**{**arguments, variants.argument: many})
    for column, portraits in columns:
        yield {
            row[column]: portraits[index * count : (index + 1) * count]
            for index, row in enumerate(block)
        }
