"use strict";
// The explorer: from what is picked to a plot, its key, a table, and the point that is looked at. `data` is that of
// edgepress.reporting.explorer; a point is its place in the columns of a data set.
const data = JSON.parse(document.getElementById("data").textContent);
const ROOT = "../"; // from this page to the folder of the run
const ALL = "all";
const NETWORK_SYMBOLS = ["circle", "square", "triangle-up", "diamond", "cross", "pentagon", "star", "hexagon"];
const PATHS = {
  circle: "M6 1.5a4.5 4.5 0 1 0 .01 0z", square: "M2 2h8v8h-8z", "triangle-up": "M6 1.5L11 10.5H1z",
  "triangle-down": "M6 10.5L11 1.5H1z", pentagon: "M6 1L11 4.6 9.1 10.5H2.9L1 4.6z", hexagon: "M6 1l4.4 2.5v5L6 11 1.6 8.5v-5z",
  "diamond-tall": "M6 .5L9.5 6 6 11.5 2.5 6z", diamond: "M6 1L11 6 6 11 1 6z", octagon: "M4 1h4l3 3v4l-3 3H4L1 8V4z",
  cross: "M4 1h4v3h3v4H8v3H4V8H1V4h3z", star: "M6 .5l1.6 3.7 4 .4-3 2.7.9 4L6 9.2 2.5 11.3l.9-4-3-2.7 4-.4z",
};
const $ = (name) => document.getElementById(name);
const methods = new Map(data.methods.map((method) => [method.name, method]));
const state = { chosen: null, point: null }; // the names of methods, or null for those on the front; a point
const isDark = matchMedia("(prefers-color-scheme: dark)");
const isPrint = matchMedia("print");
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
  if (size >= 1e9 || (size && size < 1e-3)) return value.toExponential(2);
  return value.toLocaleString("en", size >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 });
}

const withUnit = (value, unit) => number(value) + (unit && value !== null ? ` ${unit}` : "");
const titled = ({ label, unit }) => (unit ? `${label} (${unit})` : label);

// ---- what is picked ---------------------------------------------------------------------------------------------

const dataset = () => data.datasets[$("dataset").value];
const methodOf = (set, point) => methods.get(set.methods[set.method[point]]);

function view() {
  const set = dataset();
  const [x, y, split] = [$("x").value, $("y").value, $("split").value];
  const network = $("network").value;
  return {
    set, x, y, split, network, axis: data.axes[x], measure: set.measures[y],
    cost: set.costs[x], quality: set.quality[y][split], val: set.quality[y].val,
  };
}

function pointsOf({ set, network }) {
  return [...set.level.keys()].filter((point) => network === ALL || set.network[point] === Number(network));
}

// The points that no other beats in both cost and quality on val, cheapest first (reporting/selection.py has the same).
function front({ set, axis, measure, cost, val }, points) {
  if (!val) return [];
  const price = (point) => (axis.more_is_better ? -cost[point] : cost[point]);
  const gain = (point) => (measure.error ? -val[0][point] : val[0][point]);
  let best = -Infinity;
  return points
    .filter((point) => cost[point] !== null && val[0][point] !== null)
    .sort((a, b) => price(a) - price(b) || gain(b) - gain(a))
    .filter((point) => gain(point) > best && ((best = gain(point)), true));
}

// Methods that train the network again have a division of their own: the front without them, and the one with them.
function fronts(now, points) {
  const closed = front(now, points.filter((point) => !methodOf(now.set, point).retrained));
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
  options($("x"), Object.keys(data.axes).filter((x) => x in set.costs).map((x) => [x, titled(data.axes[x])]));
  options($("y"), Object.entries(set.measures).map(([y, measure]) => [y, titled(measure)]));
  const splits = ["test", "val", "train"].filter((split) => split in set.quality[$("y").value]);
  options($("split"), splits.map((split) => [split, split]));
}

function pick(names) {
  state.chosen = names;
  draw();
}

function picker(now, shown) {
  const families = Map.groupBy(now.set.methods.map((name) => methods.get(name)), (method) => method.family);
  const words = $("find").value.toLowerCase();
  const focused = document.activeElement?.dataset?.pick;
  const group = ([family, members]) => {
    const found = members.filter((method) => `${family} ${method.label}`.toLowerCase().includes(words));
    if (!found.length) return [];
    const names = found.map((method) => method.name);
    const all = names.every((name) => shown.has(name));
    const toggle = () => pick(new Set(all ? [...shown].filter((name) => !names.includes(name)) : [...shown, ...names]));
    const label = all ? "none" : "all";
    const button = element("button", { type: "button", "data-pick": `family ${family}`, "aria-label": `${label} of ${family}`, onclick: toggle }, label);
    const boxes = found.map((method) => {
      const change = (event) => pick(new Set(event.target.checked ? [...shown, method.name] : [...shown].filter((name) => name !== method.name)));
      const box = element("input", { type: "checkbox", "data-pick": method.name, checked: shown.has(method.name), onchange: change });
      return element("label", {}, box, swatch(method, method.symbol), method.label);
    });
    const head = members.length > 1 ? [element("legend", {}, family, button)] : [];
    return [element("fieldset", {}, ...head, ...boxes)];
  };
  $("families").replaceChildren(...[...families].flatMap(group));
  if (focused) document.querySelector(`[data-pick="${CSS.escape(focused)}"]`)?.focus();
  $("chosen").textContent = `Methods: ${shown.size} of ${now.set.methods.length} shown`;
}

// ---- the plot ---------------------------------------------------------------------------------------------------

const colour = (method) => (isDark.matches && !isPrint.matches ? method.colour_on_dark : method.colour);
const styled = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function swatch(method, symbol) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [name, value] of Object.entries({ viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": true })) svg.setAttribute(name, value);
  path.setAttribute("d", PATHS[symbol.replace("-open", "")]);
  path.setAttribute("stroke", colour(method));
  path.setAttribute("fill", symbol.endsWith("-open") ? "none" : colour(method));
  svg.append(path);
  return svg;
}

function symbolOf(now, point) {
  const method = methodOf(now.set, point);
  if (now.network !== ALL) return method.symbol;
  return NETWORK_SYMBOLS[now.set.network[point] % NETWORK_SYMBOLS.length] + (method.retrained ? "-open" : "");
}

const interval = (columns, point) =>
  columns[1][point] === null ? "" : ` [${number(columns[1][point])}, ${number(columns[2][point])}]`;

// What a point is worth on an axis, with its unit and interval.
const worth = (measure, columns, point) =>
  number(columns[0][point]) + interval(columns, point) + (measure.unit ? ` ${measure.unit}` : "");

function hover(now, point) {
  const { set, axis, measure, cost, quality } = now;
  const network = now.network === ALL ? `${set.networks[set.network[point]].label}, ` : "";
  return `<b>${network}${methodOf(set, point).label}</b>, ${set.level[point]}<br>` +
    `${measure.label}: ${worth(measure, quality, point)}<br>${axis.label}: ${withUnit(cost[point], axis.unit)}`;
}

// A line for each method, and network: its levels, from the cheapest on.
function traces(now, points) {
  const { set, cost, quality } = now;
  const lines = Map.groupBy(points, (point) => `${set.method[point]} ${set.network[point]}`);
  return [...lines.values()].map((line) => {
    line.sort((a, b) => cost[a] - cost[b]);
    const method = methodOf(set, line[0]);
    const whole = ([mean, low, high], end, sign) => line.map((point) => (low[point] === null ? 0 : sign * (end[point] - mean[point])));
    return {
      x: line.map((point) => cost[point]), y: line.map((point) => quality[0][point]),
      customdata: line, text: line.map((point) => hover(now, point)), hovertemplate: "%{text}<extra></extra>",
      mode: $("lines").checked ? "lines+markers" : "markers",
      line: { color: colour(method), width: 1.2, dash: method.dash },
      marker: { color: colour(method), symbol: line.map((point) => symbolOf(now, point)), size: method.name === "fp32" ? 14 : 9 },
      error_y: {
        visible: $("intervals").checked, symmetric: false, color: colour(method), thickness: 0.8, width: 2,
        array: whole(quality, quality[2], 1), arrayminus: whole(quality, quality[1], -1),
      },
    };
  });
}

function frontLine(now, points, dash) {
  return {
    x: points.map((point) => now.cost[point]), y: points.map((point) => now.quality[0][point]),
    mode: "lines", hoverinfo: "skip", line: { color: styled("--ink"), width: 2, dash },
  };
}

function ring(now, point) {
  return {
    x: [now.cost[point]], y: [now.quality[0][point]], mode: "markers", hoverinfo: "skip",
    marker: { symbol: "circle-open", size: 20, color: styled("--accent"), line: { width: 3 } },
  };
}

// Near full precision: the reader who looks for what is usable is not helped by a network that broke.
function yRange(now, points) {
  const { set, measure, quality } = now;
  const full = points.filter((point) => methodOf(set, point).name === "fp32").map((point) => quality[0][point]);
  if ($("range").value === "all" || !full.length) return { autorange: true };
  const values = points.map((point) => quality[0][point]);
  const [worst, best] = [Math.max(...full), Math.min(...full)];
  if (measure.error) return { range: [Math.min(...values) / 1.05, worst * measure.near].map(Math.log10) };
  return { range: [best - (measure.unit || now.y === "change" ? measure.near : 0), Math.max(...values) + 0.5] };
}

function layout(now, points) {
  const { axis, measure, split } = now;
  const line = { gridcolor: styled("--grid"), linecolor: styled("--edge"), zeroline: false, ticks: "outside", tickcolor: styled("--edge"), automargin: true };
  const ticks = { nticks: 5, tickformat: "~s" };
  return {
    xaxis: { ...line, title: { text: titled(axis) }, type: axis.log ? "log" : "linear", autorange: true, ...(axis.log && ticks) },
    yaxis: { ...line, title: { text: `${split} ${titled(measure)}` }, type: measure.error ? "log" : "linear", tickformat: ".4~g", ...yRange(now, points) },
    showlegend: false, hovermode: "closest", dragmode: "zoom", margin: { l: 60, r: 15, t: 15, b: 55 },
    paper_bgcolor: styled("--paper"), plot_bgcolor: styled("--paper"),
    font: { color: styled("--ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    hoverlabel: { bgcolor: styled("--raised"), bordercolor: styled("--edge"), font: { color: styled("--ink") }, align: "left" },
  };
}

function key(now, shown, open) {
  const drawn = now.set.methods.filter((name) => shown.has(name)).map((name) => methods.get(name));
  const entry = (method) => element("span", {}, swatch(method, now.network === ALL ? "square" : method.symbol), method.label);
  const groups = [...Map.groupBy(drawn, (method) => method.family).values()].map((family) => element("div", {}, ...family.map(entry)));
  if (now.network === ALL) {
    const grey = { colour: styled("--faint"), colour_on_dark: styled("--faint") };
    groups.push(element("div", {}, ...now.set.networks.map(({ label }, place) => element("span", {}, swatch(grey, NETWORK_SYMBOLS[place % NETWORK_SYMBOLS.length]), label))));
  }
  const line = (style, text) => element("span", {}, element("i", { style: `border-top: 2px ${style} var(--ink); width: 1.6rem` }), text);
  if ($("front").checked && now.val) groups.push(element("div", {}, line("solid", "front, chosen on val"), ...(open.length ? [line("dashed", "with training again")] : [])));
  $("key").replaceChildren(...groups);
}

// ---- the table, and the point that is looked at -----------------------------------------------------------------

function rowsOf(now, points, marked) {
  const { set, measure, axis, cost, quality, val } = now;
  const extra = ["bytes", "bits_per_weight"].includes(now.x) ? [] : [[titled(axis), (point) => cost[point]]];
  const columns = [
    ["method", (point) => methodOf(set, point).label],
    ...(now.network === ALL ? [["network", (point) => set.networks[set.network[point]].label]] : []),
    ["level", (point) => set.level[point]],
    ["size (B)", (point) => set.costs.bytes[point]],
    ["times smaller", (point) => set.ratio[point]],
    ["bits a weight", (point) => set.costs.bits_per_weight[point]],
    ...extra,
    ...(val && now.split !== "val" ? [[`val ${titled(measure)}`, (point) => val[0][point]]] : []),
    [`${now.split} ${titled(measure)}`, (point) => quality[0][point], (point) => number(quality[0][point]) + interval(quality, point)],
    ["on the front", (point) => (marked.has(point) ? "yes" : "")],
  ];
  const heads = columns.map(([name]) => element("th", { scope: "col" }, element("button", { type: "button" }, name)));
  $("points").tHead.rows[0].replaceChildren(...heads);
  return points.map((point) => {
    const values = columns.map(([, value]) => value(point));
    const texts = columns.map(([, , text], place) => (text ? text(point) : typeof values[place] === "string" ? values[place] : number(values[place])));
    const make = () => {
      const cells = texts.map((text, place) => element("td", typeof values[place] === "string" ? {} : { class: "number" }, text));
      cells[0].replaceChildren(element("button", { type: "button", onclick: () => look(point, false) }, texts[0]));
      return element("tr", { "data-point": point, "aria-current": `${point === state.point}` }, ...cells);
    };
    return { values, text: texts.join(" ").toLowerCase(), make };
  });
}

// The point that is looked at: all that is known of it, and its files, from this page's place in the run.
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
    term(measure.label, told.map(([split, columns]) => `${split} ${worth(measure, columns, point)}`).join("; "));
  }
  for (const [x, values] of Object.entries(set.costs)) {
    if (values[point] !== null) term(data.axes[x].label, withUnit(values[point], data.axes[x].unit));
  }
  for (const seed of network.seeds) {
    const folder = `${ROOT}${set.name}/${network.name}/seed${seed}/${method.name}/`;
    const packed = method.name === "fp32" ? "model.safetensors" : `${level}.safetensors`;
    const rows = method.retrained ? `metrics_${level}.csv` : "metrics.csv";
    term(`seed ${seed}`, element("a", { href: folder + packed }, packed), ", ", element("a", { href: folder + rows }, `rows in ${rows}`));
  }
  const close = element("button", { type: "button", onclick: () => look(null) }, "close");
  box.replaceChildren(element("h3", {}, `${set.label}, ${network.label}: ${method.label}, ${level}`), element("dl", {}, ...terms), close);
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
  const candidates = pointsOf(now).filter((point) => shown.has(methodOf(now.set, point).name) && now.quality[0][point] !== null);
  const points = candidates.filter((point) => now.cost[point] !== null);
  const { closed, open } = fronts(now, points);
  if (!points.includes(state.point)) state.point = null;
  const extra = $("front").checked ? [frontLine(now, closed, "solid"), frontLine(now, open, "dash")] : [];
  const rings = state.point === null ? [] : [ring(now, state.point)];
  Plotly.react("plot", [...extra, ...rings, ...traces(now, points)], layout(now, points), { displayModeBar: false, responsive: true });
  picker(now, shown);
  key(now, shown, open);
  table.show(rowsOf(now, points, new Set([...closed, ...open])));
  detail(now);
  const left = candidates.length - points.length;
  const said = `${points.length} points, ${new Set([...closed, ...open]).size} on the front.` + (left ? ` ${left} have nothing on this axis.` : "");
  $("status").textContent = said;
  $("note").textContent = [now.axis.note, now.val ? "" : "There is no val to choose on, so no front."].join(" ");
  $("plot").setAttribute("aria-label", `${titled(now.measure)} on ${now.split} against ${titled(now.axis)}. ${said} The table below has all of them.`);
}

options($("dataset"), data.datasets.map(({ label }, place) => [place, label]));
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
  $(format).addEventListener("click", () => Plotly.downloadImage("plot", { format, width: 900, height: 600, scale: format === "png" ? 2 : 1, filename: "edgepress" }));
}
if (matchMedia("(max-width: 60rem)").matches) $("picker").open = false;
draw();
$("plot").on("plotly_click", (event) => look(event.points[0].customdata));
for (const change of [isDark, isPrint]) change.addEventListener("change", draw);
