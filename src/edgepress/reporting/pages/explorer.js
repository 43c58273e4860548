"use strict";
// The explorer: draws the plot, key, table and details of the selected point. `data` comes from
// edgepress.reporting.explorer; a point is its index in the columns of a data set.
const data = JSON.parse(document.getElementById("data").textContent);
const ROOT = "../"; // from this page to the folder of the run
const ALL = "all";
const $ = (name) => document.getElementById(name);
const methods = new Map(data.methods.map((method) => [method.name, method]));
const state = { chosen: null, point: null }; // names of methods, or null for those on the front; selected point
const table = sortedTable($("points"), $("points-tools"));

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function number(value) {
  if (value === null) return "–";
  const size = Math.abs(value);
  const digits = size >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 };
  const exponential = size >= 1e9 || (size && size < 1e-3);
  const text = exponential ? size.toExponential(2) : size.toLocaleString("en", digits);
  return (value < 0 ? "−" : "") + text; // avoid −0
}

const withUnit = (value, unit) => number(value) + (unit && value !== null ? ` ${unit}` : "");
const titled = ({ label, unit, mean }) => {
  const told = [unit, mean].filter(Boolean).join(", ");
  return told ? `${label} (${told})` : label;
};

// ---- selection ----------------------------------------------------------------------------------------------

const dataset = () => data.datasets[$("dataset").value];
const methodOf = (set, point) => methods.get(set.methods[set.method[point]]);

function view() {
  const set = dataset();
  const [x, y, split] = [$("x").value, $("y").value, $("split").value];
  const network = $("network").value;
  return {
    set,
    x,
    y,
    split,
    network,
    axis: data.axes[x],
    measure: set.measures[y],
    cost: set.costs[x],
    quality: set.quality[y][split],
    val: set.quality[y].val,
  };
}

function pointsOf({ set, network }) {
  return [...set.level.keys()].filter((point) => network === ALL || set.network[point] === Number(network));
}

// The points that work and that no other beats in both cost and quality on val, cheapest first (reporting/selection.py
// has the same).
function front({ set, axis, measure, cost, val }, points) {
  if (!val) return [];
  const price = (point) => (axis.more_is_better ? -cost[point] : cost[point]);
  const gain = (point) => (measure.error ? -val[0][point] : val[0][point]);
  let best = -Infinity;
  return points
    .filter((point) => set.works[point] && cost[point] !== null && val[0][point] !== null)
    .sort((a, b) => price(a) - price(b) || gain(b) - gain(a))
    .filter((point) => gain(point) > best && ((best = gain(point)), true));
}

// Methods that fine-tune are a separate division: the front without them, and the one with them.
function fronts(now, points) {
  const closed = front(
    now,
    points.filter((point) => !methodOf(now.set, point).retrained),
  );
  const open = points.some((point) => methodOf(now.set, point).retrained) ? front(now, points) : [];
  return { closed, open };
}

function chosen(now) {
  if (state.chosen) return state.chosen;
  const { closed, open } = fronts(now, pointsOf(now));
  const names = [...closed, ...open].map((point) => methodOf(now.set, point).name);
  return new Set(["fp32", ...(now.val ? names : now.set.methods)]);
}

// ---- the controls -----------------------------------------------------------------------------------------------

function options(select, entries) {
  const before = select.value;
  select.replaceChildren(...entries.map(([value, label]) => new Option(label, value)));
  if (entries.some(([value]) => `${value}` === before)) select.value = before;
}

function offer() {
  const set = dataset();
  const networks = set.networks.map((network, place) => [place, network.label]);
  options($("network"), networks.length > 1 ? [...networks, [ALL, "all of them"]] : networks);
  options(
    $("x"),
    Object.keys(data.axes)
      .filter((x) => x in set.costs)
      .map((x) => [x, titled(data.axes[x])]),
  );
  options(
    $("y"),
    Object.entries(set.measures).map(([y, measure]) => [y, titled(measure)]),
  );
  const splits = ["test", "val", "train"].filter((split) => split in set.quality[$("y").value]);
  options(
    $("split"),
    splits.map((split) => [split, split]),
  );
}

function pick(names) {
  state.chosen = names;
  draw();
}

function picker(now, shown) {
  const families = Map.groupBy(
    now.set.methods.map((name) => methods.get(name)),
    (method) => method.family,
  );
  const words = $("find").value.toLowerCase();
  const focused = document.activeElement?.dataset?.pick;
  const group = ([family, members]) => {
    const found = members.filter((method) => `${family} ${method.label}`.toLowerCase().includes(words));
    if (!found.length) return [];
    const names = found.map((method) => method.name);
    const all = names.every((name) => shown.has(name));
    const toggle = () => pick(new Set(all ? [...shown].filter((name) => !names.includes(name)) : [...shown, ...names]));
    const label = all ? "none" : "all";
    const button = element(
      "button",
      { type: "button", "data-pick": `family ${family}`, "aria-label": `${label} of ${family}`, onclick: toggle },
      label,
    );
    const boxes = found.map((method) => {
      const change = (event) =>
        pick(
          new Set(event.target.checked ? [...shown, method.name] : [...shown].filter((name) => name !== method.name)),
        );
      const box = element("input", {
        type: "checkbox",
        "data-pick": method.name,
        checked: shown.has(method.name),
        onchange: change,
      });
      return element("label", {}, box, swatch(method, method.symbol), method.label);
    });
    const head = members.length > 1 ? [element("legend", {}, family, button)] : [];
    return [element("fieldset", {}, ...head, ...boxes)];
  };
  $("families").replaceChildren(...[...families].flatMap(group));
  if (focused) document.querySelector(`[data-pick="${CSS.escape(focused)}"]`)?.focus();
  $("chosen").textContent = `Methods: ${shown.size} of ${now.set.methods.length} shown`;
}

// ---- the table, and the selected point --------------------------------------------------------------------------

function rowsOf(now, points, marked) {
  const { set, measure, axis, cost, quality, val } = now;
  const extra = ["bytes", "bits_per_weight"].includes(now.x) ? [] : [[titled(axis), (point) => cost[point]]];
  const columns = [
    ["method", (point) => methodOf(set, point).label],
    ...(now.network === ALL ? [["network", (point) => set.networks[set.network[point]].label]] : []),
    ["level", (point) => set.level[point]],
    ["size (B)", (point) => set.costs.bytes[point]],
    ["times smaller", (point) => set.ratio[point]],
    ["bits per weight", (point) => set.costs.bits_per_weight[point]],
    ...extra,
    ...(val && now.split !== "val" ? [[`val ${titled(measure)}`, (point) => val[0][point]]] : []),
    [
      `${now.split} ${titled(measure)}`,
      (point) => quality[0][point],
      (point) => number(quality[0][point]) + interval(quality, point),
    ],
    ["on the front", (point) => (marked.has(point) ? "yes" : "")],
  ];
  const heads = columns.map(([name]) => element("th", { scope: "col" }, element("button", { type: "button" }, name)));
  $("points").tHead.rows[0].replaceChildren(...heads);
  return points.map((point) => {
    const values = columns.map(([, value]) => value(point));
    const texts = columns.map(([, , text], place) =>
      text ? text(point) : typeof values[place] === "string" ? values[place] : number(values[place]),
    );
    const make = () => {
      const cells = texts.map((text, place) =>
        element("td", typeof values[place] === "string" ? {} : { class: "number" }, text),
      );
      cells[0].replaceChildren(element("button", { type: "button", onclick: () => look(point, false) }, texts[0]));
      return element("tr", { "data-point": point, "aria-current": `${point === state.point}` }, ...cells);
    };
    return { values, text: texts.join(" ").toLowerCase(), make };
  });
}

// Details of the selected point, with links to its files relative to this page.
function detail(now) {
  const { set } = now;
  const box = $("detail");
  box.hidden = state.point === null;
  if (box.hidden) return;
  const point = state.point;
  const [method, level, network] = [methodOf(set, point), set.level[point], set.networks[set.network[point]]];
  const terms = [];
  const term = (name, ...value) => terms.push(element("dt", {}, name), element("dd", {}, ...value));
  for (const [y, measure] of Object.entries(set.measures)) {
    const told = Object.entries(set.quality[y]).filter(([, columns]) => columns[0][point] !== null);
    term(titled({ ...measure, unit: "" }), told.map(([split, columns]) => `${split} ${worth(measure, columns, point)}`).join("; "));
  }
  for (const [x, values] of Object.entries(set.costs)) {
    if (values[point] !== null) term(data.axes[x].label, withUnit(values[point], data.axes[x].unit));
  }
  for (const seed of network.seeds) {
    const folder = `${ROOT}${set.name}/${network.name}/seed${seed}/${method.name}/`;
    const packed =
      method.name === "fp32" ? "model.safetensors" : method.peer ? `files/${level}` : `${level}.safetensors`;
    const rows = method.retrained ? `metrics_${level}.csv` : "metrics.csv";
    term(
      `seed ${seed}`,
      element("a", { href: folder + packed }, packed),
      ", ",
      element("a", { href: folder + rows }, `rows in ${rows}`),
    );
  }
  const close = element("button", { type: "button", onclick: () => look(null) }, "close");
  box.replaceChildren(
    element("h3", {}, `${set.label}, ${network.label}: ${method.label}, ${level}`),
    element("dl", {}, ...terms),
    close,
  );
}

function look(point, scroll = true) {
  state.point = point;
  draw();
  const row = document.querySelector(`#points tr[data-point="${point}"]`);
  if (scroll) row?.scrollIntoView({ block: "nearest" });
  else row?.querySelector("button").focus({ preventScroll: true });
}

// ---- all of it --------------------------------------------------------------------------------------------------

function draw() {
  const now = view();
  const shown = chosen(now);
  const candidates = pointsOf(now).filter(
    (point) => shown.has(methodOf(now.set, point).name) && now.quality[0][point] !== null,
  );
  const points = candidates.filter((point) => now.cost[point] !== null);
  const { closed, open } = fronts(now, points);
  if (!points.includes(state.point)) state.point = null;
  const extra = $("front").checked ? [frontLine(now, closed, "solid"), frontLine(now, open, "dash")] : [];
  const rings = state.point === null ? [] : [ring(now, state.point)];
  Plotly.react("plot", [...extra, ...rings, ...traces(now, points)], layout(now, points), {
    displayModeBar: false,
    responsive: true,
  });
  picker(now, shown);
  key(now, shown, open);
  table.show(rowsOf(now, points, new Set([...closed, ...open])));
  detail(now);
  const left = candidates.length - points.length;
  const said =
    `${points.length} points, ${new Set([...closed, ...open]).size} on the front.` +
    (left ? ` ${left} have no value on this axis.` : "");
  $("status").textContent = said;
  $("note").textContent = [now.axis.note, now.val ? "" : "There is no val split to choose on, so no front."].join(" ");
  $("plot").setAttribute(
    "aria-label",
    `${titled(now.measure)} on ${now.split} against ${titled(now.axis)}. ${said} The table below lists them.`,
  );
}

options(
  $("dataset"),
  data.datasets.map(({ label }, place) => [place, label]),
);
offer();
for (const name of ["dataset", "network", "x", "y", "split", "range", "front", "intervals", "lines"]) {
  $(name).addEventListener("change", () => {
    if (name === "dataset") state.chosen = null;
    if (["dataset", "network"].includes(name)) state.point = null;
    offer();
    draw();
  });
}
$("find").addEventListener("input", () => picker(view(), chosen(view())));
$("pick-front").addEventListener("click", () => pick(null));
$("pick-all").addEventListener("click", () => pick(new Set(dataset().methods)));
$("pick-none").addEventListener("click", () => pick(new Set()));
$("reset").addEventListener("click", draw);
for (const format of ["svg", "png"]) {
  $(format).addEventListener("click", () =>
    Plotly.downloadImage("plot", {
      format,
      width: 900,
      height: 600,
      scale: format === "png" ? 2 : 1,
      filename: "edgepress",
    }),
  );
}
if (matchMedia("(max-width: 60rem)").matches) $("picker").open = false;
draw();
$("plot").on("plotly_click", (event) => look(event.points[0].customdata));
for (const change of [isDark, isPrint]) change.addEventListener("change", draw);
