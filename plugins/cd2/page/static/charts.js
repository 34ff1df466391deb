// Small charts in SVG; each says in words what it shows.

import { el, svg } from "./dom.js";
import { compact, day, number, plural } from "./format.js";

const WIDTH = 96;
const HEIGHT = 22;

// The rows changed in a table's last loads, oldest first, as bars.
export function sparkline(values) {
  if (!values.length) return el("span", { class: "muted" }, "–");
  const most = Math.max(...values, 1);
  const slot = WIDTH / 20;
  // One path for all bars: five hundred tables would otherwise be ten thousand elements.
  const bars = values.slice(-20).map((value, index, all) => {
    const height = value ? Math.max(2, (value / most) * HEIGHT) : 0.8;
    const x = (20 - all.length + index) * slot;
    return `M${x.toFixed(1)} ${HEIGHT}v-${height.toFixed(1)}h${(slot - 1.2).toFixed(1)}v${height.toFixed(1)}z`;
  });
  const text = `Rows changed in the last ${plural(values.length, "load")}: at most ${number(Math.max(...values))}, last ${number(values.at(-1))}`;
  return svg("svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": text }, svg("title", {}, text), svg("path", { d: bars.join(""), class: "bar" }));
}

const W = 720;
const H = 160;
const BOTTOM = 20;
const TOP = 14;
const LEFT = 44;

// Rows written and deleted per day.
export function volumes(days) {
  const total = (one) => one.rows_written + one.rows_deleted;
  const most = Math.max(...days.map(total), 1);
  const nice = niceTop(most);
  const slot = (W - LEFT) / days.length;
  const scale = (H - BOTTOM - TOP) / nice;
  const base = H - BOTTOM;
  const lines = [0, nice / 2, nice].map((value) => [
    svg("line", { x1: LEFT, x2: W, y1: base - value * scale, y2: base - value * scale, class: "grid" }),
    svg("text", { x: LEFT - 6, y: base - value * scale + 4, class: "axis end" }, compact(value)),
  ]);
  const every = Math.ceil(days.length / 8);
  const bars = days.map((one, index) => {
    const x = LEFT + index * slot + 1.5;
    const width = Math.max(1, slot - 3);
    const written = one.rows_written * scale;
    const deleted = one.rows_deleted * scale;
    const text = `${day(one.day)}: ${number(one.rows_written)} written, ${number(one.rows_deleted)} deleted`;
    return svg("g", {}, svg("title", {}, text),
      svg("rect", { x: LEFT + index * slot, y: TOP, width: slot, height: base - TOP, class: "hover" }),
      svg("rect", { x, y: base - written, width, height: written, class: "bar", rx: 1.5 }),
      svg("rect", { x, y: base - written - deleted, width, height: deleted, class: "bar deleted", rx: 1.5 }),
      (days.length - 1 - index) % every === 0
        ? svg("text", { x: index === days.length - 1 ? W : x + width / 2, y: H - 5, class: index === days.length - 1 ? "axis end" : "axis middle" }, day(one.day))
        : null);
  });
  const table = el("table", { class: "visually-hidden" },
    el("caption", {}, "Rows per day"),
    el("thead", {}, el("tr", {}, ["Day", "Rows written", "Rows deleted"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, days.map((one) => el("tr", {}, el("th", { scope: "row" }, day(one.day)), el("td", {}, number(one.rows_written)), el("td", {}, number(one.rows_deleted))))));
  return [svg("svg", { class: "volumes", viewBox: `0 0 ${W} ${H}`, "aria-hidden": "true" }, lines, bars), table];
}

function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 8, 10].map((step) => step * power).find((step) => step >= value);
}

// The last runs, oldest first, as Airflow draws them: how long and how they ended.
export function runBars(runs, barOf) {
  const most = Math.max(...runs.map((run) => run.seconds ?? 0), 1);
  return el("ol", { class: "runs" }, runs.map((run) => {
    const height = run.seconds === null ? 60 : Math.max(12, (run.seconds / most) * 100);
    const bar = el("span", { class: `run ${run.state}`, "aria-hidden": "true" });
    bar.style.height = `${height}%`;
    return el("li", {}, barOf(run, bar));
  }));
}
