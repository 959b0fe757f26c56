"""The table of the runs in a gallery: a row each, to be sorted by a column and filtered.

What a prompt may hold goes through `escape` into text and attributes, never into the script, which
is the same for every page and reads the attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

MOST_FIGURES = 8  # columns of figures; all figures stand with the run
HIDDEN = ("output_dir",)

# Sorting and filtering move and hide the rows of the table, and the runs below in step.
SCRIPT = """
const table = document.getElementById("runs"), body = table.tBodies[0], end =
  document.getElementById("end"), rows = [...body.rows], count = document.getElementById("count"),
  value = (row, column) => row.cells[column].dataset.value,
  filters = [...document.querySelectorAll("select[data-column]")];
function filter() {
  let left = 0;
  for (const row of rows) {
    const hidden = filters.some(f => f.value && value(row, f.dataset.column) !== f.value.slice(1));
    row.hidden = document.getElementById(row.dataset.run).hidden = hidden;
    left += !hidden;
  }
  count.textContent = left + " of " + rows.length + " runs";
}
function compare(one, other) {
  if (one === "" || other === "") return (one === "") - (other === "");
  const apart = Number(one) - Number(other);
  return Number.isNaN(apart) ? one.localeCompare(other) : apart;
}
for (const head of table.tHead.rows[0].cells) head.firstChild.addEventListener("click", () => {
  const down = head.ariaSort === "ascending", column = head.cellIndex;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", head.ariaSort = down ? "descending" : "ascending");
  rows.sort((a, b) => (down ? -1 : 1) * compare(value(a, column), value(b, column)));
  for (const row of rows) {
    body.append(row);
    end.before(document.getElementById(row.dataset.run));
  }
});
filters.forEach(f => f.addEventListener("change", filter));
filter();
"""


def differing(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parameters in which runs differ, in the order in which they come up."""
    names = dict.fromkeys(name for row in rows for name in row["parameters"] if name not in HIDDEN)
    return [name for name in names if len({repr(r["parameters"].get(name)) for r in rows}) > 1]


def table_of_runs(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Selects for what differs, and a row for each run with what differs and what was measured."""
    varied = differing(rows)
    figures = list(dict.fromkeys(name for row in rows for name in row["figures"]))[:MOST_FIGURES]
    priced = [name for name in ("dollars",) if any(row["dollars"] is not None for row in rows)]
    heads = ["notebook", *varied, *figures, "pictures", "seconds", *priced, "state"]
    lines = [_cells(row, varied, figures, priced) for row in rows]
    yield '<p class="filters">'
    for column, name in enumerate(heads):
        if name == "state" or column <= len(varied):
            yield from _select(name, column, [line[column] for line in lines])
    yield '<span id="count" class="soft" role="status"></span></p>'
    yield '<div class="wide"><table id="runs"><thead><tr>'
    yield "".join(f'<th><button type="button">{escape(head)}</button></th>' for head in heads)
    yield "</tr></thead><tbody>"
    for row, line in zip(rows, lines, strict=True):
        run = escape(f"run-{row['address']}")
        cells = [
            f'<td data-value="{escape(value)}" title="{escape(value)}">'
            + (escape(text) if column else f'<a href="#{run}">{escape(text)}</a>')
            for column, (value, text) in enumerate(line)
        ]
        yield f'<tr data-run="{run}">{"</td>".join(cells)}</td></tr>'
    yield "</tbody></table></div>"


def _cells(
    row: Mapping[str, Any], varied: Sequence[str], figures: Sequence[str], priced: Sequence[str]
) -> list[tuple[str, str]]:
    """What a row has in each column: the value that is compared, and the text that is shown."""
    chosen = row["parameters"]
    state = "done" if row["error"] is None else "failed"
    measured = [row["figures"].get(name) for name in figures]
    numbers = [*measured, row["pictures"], row["duration_s"], *(row[name] for name in priced)]
    return [
        (row["notebook"], row["notebook"]),
        *((plain(chosen.get(name)), shown(chosen.get(name))) for name in varied),
        *((plain(number), "" if number is None else figure_text(number)) for number in numbers),
        (state, state),
    ]


def _select(name: str, column: int, cells: Sequence[tuple[str, str]]) -> Iterable[str]:
    """A choice of one value; nothing where there is only one."""
    choices = dict(cells)
    if len(choices) < 2:
        return
    yield f'<label>{escape(name)} <select data-column="{column}"><option value="">all</option>'
    for value, text in choices.items():
        yield f'<option value="={escape(value)}">{escape(text)}</option>'
    yield "</select></label>"


def plain(value: Any) -> str:
    """A value as it is compared: text as it is, nothing for None."""
    return "" if value is None else str(value)


def shown(value: Any) -> str:
    """A parameter in one short line; a dash where a notebook has it not."""
    text = "–" if value is None else " ".join(plain(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def figure_text(value: Any) -> str:
    """A figure as it is shown."""
    if value is None:
        return "not measured"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
