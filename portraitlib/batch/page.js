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
