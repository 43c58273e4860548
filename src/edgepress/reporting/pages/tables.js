"use strict";
// Tables that sort by their headings and filter rows by typed text. A row is {values, text, make}: values to sort by, text
// to search, and a function that creates its element. `draw` creates everything that a table shows.
const MOST_ROWS = 200; // until all are requested: rendering 20,000 rows takes seconds

function sortedTable(table, tools) {
  const body = table.tBodies[0];
  const heads = () => [...table.tHead.rows[0].cells];
  const search = tools.querySelector("input[type=search]");
  const count = tools.querySelector("output");
  const more = tools.querySelector("button.more");
  const state = { rows: [], column: -1, sign: 1, all: false };

  function draw() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = state.rows.filter((row) => words.every((word) => row.text.includes(word)));
    if (state.column >= 0) found.sort((a, b) => state.sign * compared(a.values[state.column], b.values[state.column]));
    const shown = state.all ? found : found.slice(0, MOST_ROWS);
    body.replaceChildren(...shown.map((row) => row.make()));
    more.hidden = shown.length === found.length;
    count.value = `${found.length.toLocaleString("en")} of ${state.rows.length.toLocaleString("en")} rows`;
    heads().forEach((head, place) => {
      if (place !== state.column) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", state.sign > 0 ? "ascending" : "descending");
    });
  }

  table.tHead.addEventListener("click", (event) => {
    const column = heads().indexOf(event.target.closest("th"));
    if (!event.target.closest("button")) return;
    state.sign = column === state.column ? -state.sign : 1;
    state.column = column;
    draw();
  });
  search.addEventListener("input", draw);
  more.addEventListener("click", () => {
    state.all = true;
    draw();
    search.focus();
  });
  return {
    show(rows) {
      Object.assign(state, { rows, all: false });
      draw();
    },
  };
}

// Numbers by size, the rest as text; missing values last in either direction.
function compared(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en");
}

// A table in the page's HTML: cells whose text is not a plain number have their value in `data-value`.
function valueOf(cell) {
  const text = cell.dataset.value ?? cell.textContent;
  return text === "" ? null : Number.isNaN(Number(text)) ? text : Number(text);
}

for (const table of document.querySelectorAll("table[data-sorted]")) {
  const rows = [...table.tBodies[0].rows].map((element) => {
    const values = [...element.cells].map(valueOf);
    return { values, text: element.textContent.toLowerCase(), make: () => element };
  });
  sortedTable(table, document.getElementById(table.dataset.sorted)).show(rows);
}
