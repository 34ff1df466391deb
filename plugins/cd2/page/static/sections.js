// The verdict above the tables, the running refresh, and what stands below.

import { link } from "./airflow.js";
import { urls } from "./api.js";
import { runBars, volumes } from "./charts.js";
import { el } from "./dom.js";
import { clock, full, number, plural, span } from "./format.js";
import { PHASES, duration, isActive } from "./model.js";
import { when } from "./tables.js";

const MARKS = { good: "✓", bad: "!", warn: "!", info: "…" };
const SHOWN_RUNS = 14;
const BAR = ["done", "failed", "loading", "dap", "turn", "waiting", "worker", "retry"];

// The one sentence, what follows it, and the last runs.
export function verdictSection({ verdict, problems, runs, buttons }, now) {
  const notes = verdict.more.filter(Boolean).join(" · ");
  return el("div", { class: `card verdict ${verdict.tone}` },
    el("span", { class: "mark", "aria-hidden": "true" }, MARKS[verdict.tone]),
    el("div", { class: "what" },
      el("p", { class: "sentence" }, verdict.text),
      notes && el("p", { class: "muted" }, notes[0].toUpperCase() + notes.slice(1), "."),
      problems.map((problem) => el("p", { class: "problem" },
        problem.sentence || "It ended before it could report why.", " ",
        link(urls.log(problem.dag_run_id, problem.task_id, -1), {}, `Log of ${problem.task_id}`))),
      buttons.length ? el("div", { class: "buttons" }, buttons) : null),
    runs.length ? lastRuns(runs, now) : null);
}

function lastRuns(runs, now) {
  const shown = runs.slice(0, SHOWN_RUNS).reverse()
    .map((run) => ({ ...run, seconds: isActive(run) ? (run.start_date ? (now - new Date(run.start_date)) / 1000 : null) : duration(run) }));
  return el("div", { class: "history" },
    el("h2", { class: "small" }, "Last runs"),
    runBars(shown, (run, bar) => {
      const took = run.seconds === null ? "" : isActive(run) ? `, for ${span(run.seconds)}` : ` after ${span(run.seconds)}`;
      const text = `Run of ${clock(run.run_after, now)}: ${run.state}${took}`;
      return link(urls.run(run.dag_run_id), { "aria-label": text, title: text }, bar);
    }));
}

// The refresh that goes on: how far it is, and what the tables wait for.
//   loading: [{ name, rows, rate, applying, ti }]
export function liveSection({ run, phases, loading, step }, now) {
  const counts = new Map(PHASES.map(({ kind }) => [kind, phases.filter((one) => one.kind === kind)]));
  const all = phases.length;
  const done = counts.get("done").length;
  const begun = run.start_date && run.state !== "queued" ? ["started ", when(run.start_date, now, false)] : [];
  const bar = all ? el("div", { class: "progress", "aria-hidden": "true" }, BAR.map((kind) => {
    const part = el("span", { class: `phase ${kind}` });
    part.style.flexGrow = counts.get(kind).length;
    return counts.get(kind).length ? part : null;
  })) : null;
  return el("div", { class: "card live" },
    el("div", { class: "title" },
      el("h2", {}, run.state === "queued" ? "A refresh is queued" : "A refresh is running"),
      el("span", { class: "muted" }, all ? `${number(done)} of ${plural(all, "table")} done, ` : "", begun),
      link(urls.run(run.dag_run_id), { class: "aside" }, "Run in Airflow")),
    bar,
    step ? el("p", { class: "muted" }, step) : null,
    el("ul", { class: "phases" }, PHASES.filter(({ kind }) => counts.get(kind).length && kind !== "done").map(({ kind, label }) => {
      const names = counts.get(kind).map((one) => one.name);
      return el("li", {},
        el("span", { class: `dot ${kind}`, "aria-hidden": "true" }), el("strong", {}, number(names.length)), ` ${label} `,
        kind === "loading" ? null : el("span", { class: "muted names" }, some(names)));
    })),
    loading.length ? el("table", { class: "loads" }, el("caption", { class: "visually-hidden" }, "Tables that load"),
      el("thead", {}, el("tr", {}, ["Loading", "Rows so far", "Rows per second", ""].map((name, index) => el("th", { scope: "col", class: index === 1 || index === 2 ? "figure" : undefined }, name || el("span", { class: "visually-hidden" }, "Log"))))),
      el("tbody", {}, loading.map((one) => el("tr", {},
        el("th", { scope: "row" }, one.name),
        el("td", { class: "figure" }, one.rows === undefined ? "–" : number(one.rows)),
        el("td", { class: "figure" }, one.applying ? "applying" : one.rate ? number(one.rate) : "–"),
        el("td", { class: "end" }, link(urls.log(run.dag_run_id, one.ti.task_id, one.index), { "aria-label": `Log of ${one.name}` }, "Log")))))) : null);
}

const some = (names, most = 4) => names.slice(0, most).join(", ") + (names.length > most ? `, and ${number(names.length - most)} more` : "");

// Rows per day; schema changes and broken views. Nothing of what nobody has recorded.
export function overviewSections({ status }, now) {
  if (!status) return [];
  return [
    status.volumes.length ? el("section", {},
      el("h2", { id: "volumes" }, "Rows per day"),
      el("div", { class: "card chart" },
        el("p", { class: "legend" }, el("span", { class: "key" }), "written", el("span", { class: "key deleted" }), "deleted"),
        volumes(status.volumes))) : null,
    status.schema_changes.length ? el("section", {},
      el("h2", { id: "changes" }, "Schema changes"),
      el("div", { class: "card list", tabindex: "0", role: "region", "aria-labelledby": "changes" }, el("ul", { class: "changes" }, status.schema_changes.map((change) => schemaChange(change, now))))) : null,
  ];
}

function schemaChange(change, now) {
  const versions = [change.from_version, change.to_version].filter((version) => version !== null).map((version) => `v${version}`).join(" → ");
  const broken = change.views.filter((view) => !view.restored).map((view) => view.name);
  const restored = change.views.filter((view) => view.restored).map((view) => view.name);
  return el("li", {},
    el("p", {}, el("strong", {}, change.table), versions ? el("span", { class: "badge" }, versions) : null, " ",
      el("time", { datetime: change.at, title: full(change.at), class: "muted" }, clock(change.at, now))),
    el("p", {}, change.what),
    broken.length ? el("p", {}, el("span", { class: "state bad" }, "Broken"), " ", broken.join(", "), el("span", { class: "muted" }, ": the definition is kept in cd2.broken_dependents.")) : null,
    restored.length ? el("p", {}, el("span", { class: "state good" }, "Restored"), " ", restored.join(", ")) : null);
}
