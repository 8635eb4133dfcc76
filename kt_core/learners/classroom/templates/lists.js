// Lists that can be searched, filtered and sorted. Without this script they are plain tables.
for (const list of document.querySelectorAll(".list")) {
  const body = list.querySelector("tbody"), rows = [...body.rows];
  const search = list.querySelector("input"), filter = list.querySelector("select");
  const count = list.querySelector(".count"), { shown, code, paper } = list.dataset;
  const words = rows.map((row) => row.textContent.toLocaleLowerCase(code));

  function show() {
    const wanted = search.value.toLocaleLowerCase(code).split(/\s+/);
    let n = 0;
    rows.forEach((row, i) => {
      const found = wanted.every((word) => words[i].includes(word));
      row.hidden = !found || Boolean(filter?.value && row.dataset.kind !== filter.value);
      n += !row.hidden;
    });
    count.textContent = shown.replace("#all", rows.length).replace("#n", n);
    list.classList.toggle("long", n > paper);
  }

  function value(row, column) {
    const cell = row.cells[column], given = cell.dataset.value;
    return given === undefined ? cell.textContent : given === "" ? NaN : Number(given);
  }

  function compare(a, b) { // what is not known comes last, in either order
    if (typeof a === "string") return a.localeCompare(b, code, { numeric: true });
    return a - b;
  }

  function sort(head, column) {
    const down = head.ariaSort === "ascending", sign = down ? -1 : 1;
    for (const other of head.parentNode.cells) other.ariaSort = null;
    head.ariaSort = down ? "descending" : "ascending";
    const keyed = rows.map((row) => [value(row, column), row]);
    const known = keyed.filter(([key]) => !Number.isNaN(key));
    known.sort(([a], [b]) => sign * compare(a, b));
    body.append(...known.map(([, row]) => row));
    body.append(...keyed.filter(([key]) => Number.isNaN(key)).map(([, row]) => row));
  }

  list.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(head, column));
  });
  search.addEventListener("input", show);
  filter?.addEventListener("change", show);
  list.querySelector(".controls").hidden = false;
  show(); // a browser may have kept what was typed
}
