"use strict";
// Draws points (colours and symbols), lines and the key of the plot. `now` is the selection of explorer.js: a data set, an
// axis and a measure, with their columns; a point is its index in these.
const NETWORK_SYMBOLS = ["circle", "square", "triangle-up", "diamond", "cross", "pentagon", "star", "hexagon"];
const PATHS = {
  circle: "M6 1.5a4.5 4.5 0 1 0 .01 0z",
  square: "M2 2h8v8h-8z",
  "triangle-up": "M6 1.5L11 10.5H1z",
  "triangle-down": "M6 10.5L11 1.5H1z",
  pentagon: "M6 1L11 4.6 9.1 10.5H2.9L1 4.6z",
  hexagon: "M6 1l4.4 2.5v5L6 11 1.6 8.5v-5z",
  "diamond-tall": "M6 .5L9.5 6 6 11.5 2.5 6z",
  diamond: "M6 1L11 6 6 11 1 6z",
  octagon: "M4 1h4l3 3v4l-3 3H4L1 8V4z",
  "triangle-left": "M1.5 6L10.5 1v10z",
  "triangle-right": "M10.5 6L1.5 1v10z",
  hexagon2: "M1 6l2.5-4.4h5L11 6 8.5 10.4h-5z",
  cross: "M4 1h4v3h3v4H8v3H4V8H1V4h3z",
  x: "M3 1l3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3-3-3z",
  star: "M6 .5l1.6 3.7 4 .4-3 2.7.9 4L6 9.2 2.5 11.3l.9-4-3-2.7 4-.4z",
};
const isDark = matchMedia("(prefers-color-scheme: dark)");
const isPrint = matchMedia("print");

const colour = (method) => (isDark.matches && !isPrint.matches ? method.colour_on_dark : method.colour);
const styled = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function swatch(method, symbol) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [name, value] of Object.entries({ viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": true }))
    svg.setAttribute(name, value);
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

// The value of a point on an axis, with unit and interval.
const worth = (measure, columns, point) =>
  number(columns[0][point]) + interval(columns, point) + (measure.unit ? ` ${measure.unit}` : "");

function hover(now, point) {
  const { set, axis, measure, cost, quality } = now;
  const network = now.network === ALL ? `${set.networks[set.network[point]].label}, ` : "";
  return (
    `<b>${network}${methodOf(set, point).label}</b>, ${set.level[point]}<br>` +
    `${titled({ ...measure, unit: "" })}: ${worth(measure, quality, point)}<br>${axis.label}: ${withUnit(cost[point], axis.unit)}`
  );
}

// One line per method and network through its levels, cheapest first.
function traces(now, points) {
  const { set, cost, quality } = now;
  const lines = Map.groupBy(points, (point) => `${set.method[point]} ${set.network[point]}`);
  return [...lines.values()].map((line) => {
    line.sort((a, b) => cost[a] - cost[b]);
    const method = methodOf(set, line[0]);
    const whole = ([mean, low, high], end, sign) =>
      line.map((point) => (low[point] === null ? 0 : sign * (end[point] - mean[point])));
    return {
      x: line.map((point) => cost[point]),
      y: line.map((point) => quality[0][point]),
      customdata: line,
      text: line.map((point) => hover(now, point)),
      hovertemplate: "%{text}<extra></extra>",
      cliponaxis: false, // do not cut markers at 100 %
      mode: $("lines").checked ? "lines+markers" : "markers",
      line: { color: colour(method), width: 1.2, dash: method.dash },
      marker: {
        color: colour(method),
        symbol: line.map((point) => symbolOf(now, point)),
        size: method.name === "fp32" ? 14 : 9,
      },
      error_y: {
        visible: $("intervals").checked,
        symmetric: false,
        color: colour(method),
        thickness: 0.8,
        width: 2,
        array: whole(quality, quality[2], 1),
        arrayminus: whole(quality, quality[1], -1),
      },
    };
  });
}

function frontLine(now, points, dash) {
  return {
    x: points.map((point) => now.cost[point]),
    y: points.map((point) => now.quality[0][point]),
    mode: "lines",
    hoverinfo: "skip",
    line: { color: styled("--ink"), width: 2, dash },
  };
}

function ring(now, point) {
  return {
    x: [now.cost[point]],
    y: [now.quality[0][point]],
    mode: "markers",
    hoverinfo: "skip",
    marker: { symbol: "circle-open", size: 20, color: styled("--accent"), line: { width: 3 } },
  };
}

// Near full precision: hides unusable networks.
function yRange(now, points) {
  const { set, measure, quality } = now;
  const full = points.filter((point) => methodOf(set, point).name === "fp32").map((point) => quality[0][point]);
  const [least, most] = measure.possible ?? [-Infinity, Infinity];
  const limits = measure.possible && { clipmin: least, clipmax: most };
  if ($("range").value === "all" || !full.length) return { autorange: true, autorangeoptions: limits ?? {} };
  const values = points.map((point) => quality[0][point]);
  const [worst, best] = [Math.max(...full), Math.min(...full)];
  if (measure.error) return { range: [Math.min(...values) / 1.05, worst * measure.near].map(Math.log10) };
  const low = best - (measure.unit || now.y === "change" ? measure.near : 0);
  return { range: [Math.max(low, least), Math.min(Math.max(...values) + 0.5, most)] };
}

function layout(now, points) {
  const { axis, measure, split } = now;
  const line = {
    gridcolor: styled("--grid"),
    linecolor: styled("--edge"),
    zeroline: false,
    ticks: "outside",
    tickcolor: styled("--edge"),
    automargin: true,
  };
  const ticks = { nticks: 5, tickformat: "~s" };
  return {
    xaxis: {
      ...line,
      title: { text: titled(axis) },
      type: axis.log ? "log" : "linear",
      autorange: true,
      ...(axis.log && ticks),
    },
    yaxis: {
      ...line,
      title: { text: `${split} ${titled(measure)}` },
      type: measure.error ? "log" : "linear",
      tickformat: ".4~g",
      ...yRange(now, points),
    },
    showlegend: false,
    hovermode: "closest",
    dragmode: "zoom",
    margin: { l: 60, r: 15, t: 15, b: 55 },
    paper_bgcolor: styled("--paper"),
    plot_bgcolor: styled("--paper"),
    font: { color: styled("--ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    hoverlabel: {
      bgcolor: styled("--raised"),
      bordercolor: styled("--edge"),
      font: { color: styled("--ink") },
      align: "left",
    },
  };
}

function key(now, shown, open) {
  const drawn = now.set.methods.filter((name) => shown.has(name)).map((name) => methods.get(name));
  const entry = (method) =>
    element("span", {}, swatch(method, now.network === ALL ? "square" : method.symbol), method.label);
  const groups = [...Map.groupBy(drawn, (method) => method.family).values()].map((family) =>
    element("div", {}, ...family.map(entry)),
  );
  if (now.network === ALL) {
    const grey = { colour: styled("--faint"), colour_on_dark: styled("--faint") };
    groups.push(
      element(
        "div",
        {},
        ...now.set.networks.map(({ label }, place) =>
          element("span", {}, swatch(grey, NETWORK_SYMBOLS[place % NETWORK_SYMBOLS.length]), label),
        ),
      ),
    );
  }
  const line = (style, text) =>
    element("span", {}, element("i", { style: `border-top: 2px ${style} var(--ink); width: 1.6rem` }), text);
  if ($("front").checked && now.val)
    groups.push(
      element(
        "div",
        {},
        line("solid", "front, chosen on val"),
        ...(open.length ? [line("dashed", "with fine-tuning")] : []),
      ),
    );
  $("key").replaceChildren(...groups);
}
