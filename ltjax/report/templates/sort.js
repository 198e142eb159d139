// A heading is a button that sorts its table: numbers downwards first, words upwards; again, turned.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
  if (body.rows.length < 2) continue;
  const text = (row, k) => row.cells[k].textContent.trim();
  const number = (row, k) => {
    const found = text(row, k).replaceAll(",", "").match(/-?\d+(\.\d+)?/);
    return found ? Number(found[0]) : -Infinity;
  };
  headings.forEach((heading, k) => {
    const rows = [...body.rows];
    const numeric = k > 0 && rows.some((row) => number(row, k) !== -Infinity);
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      const way = before ? (before === "ascending" ? "descending" : "ascending")
        : (numeric ? "descending" : "ascending");
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", way);
      const compare = numeric
        ? (a, b) => number(a, k) - number(b, k) || 0
        : (a, b) => text(a, k).localeCompare(text(b, k), undefined, { numeric: true });
      body.append(...[...body.rows].sort((a, b) => (way === "ascending" ? 1 : -1) * compare(a, b)));
    });
  });
}
