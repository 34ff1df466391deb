// The table of tables: filters, sorting, selection, and one row for each table.

import { link } from "./airflow.js";
import { urls } from "./api.js";
import { sparkline } from "./charts.js";
import { el, say, show } from "./dom.js";
import { clock, full, number, plural, relative } from "./format.js";
import { chosen } from "./model.js";

const FILTERS = [
  { kind: "", label: "All" },
  { kind: "bad", label: "Failed" },
  { kind: "warn", label: "Not checked" },
  { kind: "changed", label: "Changed" },
];
const COLUMNS = [
  { key: "table", label: "Table" },
  { key: "state", label: "State" },
  { key: "checked", label: "Checked", descending: true },
  { key: "data_as_of", label: "Data as of", descending: true },
  { key: "rows", label: "Rows", descending: true, figure: true, has: (row) => row.rows !== null },
  { key: "changed", label: "Last run", descending: true, figure: true, has: (row) => row.changed !== null },
  { key: "recent", label: "Last loads", descending: true, has: (row) => row.recent.length },
  { key: "schema_version", label: "Schema", descending: true, figure: true, has: (row) => row.schema_version !== null },
  { key: "verified_at", label: "Verified", descending: true, has: (row) => row.verified_at },
];

export class Tables {
  // actions(names): the buttons for the chosen tables; none: for all.
  constructor(place, actions) {
    this.place = place;
    this.actions = actions;
    this.rows = [];
    this.view = { text: "", kind: "", namespace: "", sort: "state", descending: false };
    this.selected = new Set();
    this.kept = new Map(); // table -> { signature, elements }
    this.made = false;
  }

  // Show rows (see model.js); the run is the one that left them, and `state` what the buttons depend on.
  update(rows, run, now, state) {
    this.rows = rows;
    this.state = state;
    this.run = run;
    this.now = now;
    const names = new Set(rows.map((row) => row.table));
    for (const name of this.selected) if (!names.has(name)) this.selected.delete(name);
    this.place.hidden = !rows.length;
    if (!rows.length) return;
    if (!this.made) this.make();
    this.draw();
  }

  filter(kind) {
    this.view.kind = kind;
    this.draw();
    this.place.scrollIntoView({ block: "start" });
  }

  make() {
    this.made = true;
    this.search = el("input", {
      type: "search", placeholder: "Filter by name or error", "aria-label": "Filter the tables by name or error", spellcheck: "false",
      oninput: () => { this.view.text = this.search.value; this.draw(true); },
    });
    this.namespace = el("select", { "aria-label": "Namespace", onchange: () => { this.view.namespace = this.namespace.value; this.draw(true); } });
    this.filters = el("div", { class: "segments", role: "group", "aria-label": "State" });
    this.count = el("span", { class: "muted count" });
    this.buttons = el("div", { class: "buttons" });
    this.head = el("tr");
    this.body = el("tbody");
    this.all = el("input", { type: "checkbox", "aria-label": "Select all tables shown", onchange: () => this.selectAll(this.all.checked) });
    const table = el("table", { class: "tables" }, el("caption", { class: "visually-hidden" }, "The tables, one in each row"), el("thead", {}, this.head), this.body);
    this.place.replaceChildren(
      el("div", { class: "toolbar" }, el("h2", {}, "Tables"), this.search, this.filters, this.namespace, this.count, this.buttons),
      el("div", { class: "card scroll", tabindex: "0", role: "region", "aria-label": "The list of tables" }, table),
    );
  }

  draw(told = false) {
    const columns = COLUMNS.filter((column) => !column.has || this.rows.some(column.has));
    const rows = chosen(this.rows, this.view);
    this.shown = rows;
    this.drawFilters();
    this.drawHead(columns);
    const shape = columns.map((column) => column.key).join();
    const elements = rows.flatMap((row) => this.elementsOf(row, columns, shape));
    const nothing = () => el("tr", {}, el("td", { colspan: columns.length + 1, class: "muted nothing" }, "No table matches."));
    // What stays in place keeps its focus.
    const same = elements.length && elements.length === this.body.children.length && elements.every((one, index) => one === this.body.children[index]);
    if (!same) this.body.replaceChildren(...(elements.length ? elements : [nothing()]));
    const text = rows.length === this.rows.length ? plural(rows.length, "table") : `${number(rows.length)} of ${plural(this.rows.length, "table")}`;
    this.count.textContent = text;
    if (told) say(text);
    this.drawSelection();
  }

  drawFilters() {
    const count = (kind) => chosen(this.rows, { ...this.view, text: "", kind, namespace: "" }).length;
    const filters = FILTERS.map(({ kind, label }) => [kind, label, count(kind), this.view.kind === kind]).filter(([kind, , found, on]) => !kind || found || on);
    show(this.filters, filters, () => filters.map(([kind, label, found, on]) => el("button", {
      type: "button", "aria-pressed": String(on), "data-focus": `filter ${kind}`,
      onclick: () => { this.view.kind = kind; this.draw(true); },
    }, label, el("span", { class: "badge" }, number(found)))));
    const namespaces = [...new Set(this.rows.map((row) => row.namespace))].sort();
    this.namespace.hidden = namespaces.length < 2;
    if (this.namespace.options.length !== namespaces.length + 1) {
      this.namespace.replaceChildren(el("option", { value: "" }, "All namespaces"), ...namespaces.map((name) => el("option", { value: name }, name)));
      this.namespace.value = this.view.namespace;
    }
  }

  drawHead(columns) {
    show(this.head, [columns, this.view.sort, this.view.descending], () => [el("th", { scope: "col", class: "select" }, this.all), ...columns.map(({ key, label, figure, descending }) => {
      const sorted = this.view.sort === key;
      const sort = sorted ? (this.view.descending ? "descending" : "ascending") : undefined;
      const arrow = el("span", { class: "arrow", "aria-hidden": "true" }, sorted ? (this.view.descending ? "↓" : "↑") : "");
      const press = () => {
        this.view.descending = sorted ? !this.view.descending : Boolean(descending);
        this.view.sort = key;
        this.draw();
      };
      return el("th", { scope: "col", "aria-sort": sort, class: figure ? "figure" : undefined },
        el("button", { type: "button", onclick: press, "data-focus": `sort ${key}` }, label, arrow));
    })]);
  }

  // The row of a table, and below it why it failed; made anew only if they changed.
  elementsOf(row, columns, shape) {
    const signature = JSON.stringify([row, shape, this.run?.dag_run_id]);
    const kept = this.kept.get(row.table);
    if (kept?.signature === signature) return kept.elements;
    const box = el("input", { type: "checkbox", checked: this.selected.has(row.table), "aria-label": `Select ${row.table}`, onchange: () => this.select(row.table, box.checked) });
    const cells = columns.map((column) => CELLS[column.key](row, this.now, column));
    const elements = [el("tr", { "data-table": row.table, class: row.error ? "explained" : undefined }, el("td", { class: "select" }, box), cells)];
    if (row.error) elements.push(el("tr", { class: "why" }, el("td"), el("td", { colspan: columns.length }, this.why(row))));
    this.kept.set(row.table, { signature, elements, box });
    return elements;
  }

  why(row) {
    const since = row.failing_since ? el("span", { class: "muted" }, "Failing since ", when(row.failing_since, this.now), ". ") : null;
    const log = row.failure
      ? link(urls.log(row.failure.dag_run_id, row.failure.task_id, row.failure.map_index), { "aria-label": `Log of ${row.table}` }, "Log of the failed task")
      : null;
    return el("p", {}, row.error, " ", since, log);
  }

  select(name, on) {
    if (on) this.selected.add(name);
    else this.selected.delete(name);
    this.drawSelection();
  }

  selectAll(on) {
    for (const row of this.shown) {
      if (on) this.selected.add(row.table);
      else this.selected.delete(row.table);
      this.kept.get(row.table).box.checked = on;
    }
    this.drawSelection();
  }

  clearSelection() {
    this.selected.clear();
    for (const { box } of this.kept.values()) box.checked = false;
    this.drawSelection();
  }

  drawSelection() {
    const shown = this.shown.filter((row) => this.selected.has(row.table)).length;
    this.all.checked = shown > 0 && shown === this.shown.length;
    this.all.indeterminate = shown > 0 && shown < this.shown.length;
    const names = [...this.selected].sort();
    show(this.buttons, [names, this.state], () => this.actions(names));
  }
}

const NOTHING = () => el("td", { class: "muted" }, "–");
const figure = (text, title) => el("td", { class: "figure", title }, text);

// A moment that the page keeps up to date.
export function when(moment, now, short = true) {
  return el("time", { datetime: moment, title: full(moment), "data-short": String(short) }, relative(moment, now, short));
}

const CELLS = {
  table: (row) => el("th", { scope: "row" }, el("span", { class: "namespace" }, `${row.namespace}.`), row.table.slice(row.namespace.length + 1)),
  state: (row) => el("td", {}, el("span", { class: `state ${row.tone}` }, row.label)),
  checked: (row, now) => (row.checked ? el("td", {}, when(row.checked, now)) : NOTHING()),
  data_as_of: (row, now) => (row.data_as_of ? el("td", { title: full(row.data_as_of) }, clock(row.data_as_of, now)) : NOTHING()),
  rows: (row) => (row.rows === null ? NOTHING() : figure(number(row.rows))),
  changed(row) {
    if (row.changed === null) return el("td", { class: "figure muted" }, "–");
    if (!row.changed) return el("td", { class: "figure muted" }, "no change");
    const text = [row.rows_written ? `+${number(row.rows_written)}` : "", row.rows_deleted ? `−${number(row.rows_deleted)}` : ""];
    return figure(text.filter(Boolean).join("  "), `${plural(row.rows_written, "row")} written, ${number(row.rows_deleted)} deleted`);
  },
  recent: (row) => el("td", {}, sparkline(row.recent)),
  schema_version: (row) => (row.schema_version === null ? el("td", { class: "figure muted" }, "–") : figure(`v${row.schema_version}`)),
  verified_at: (row, now) => (row.verified_at ? el("td", {}, when(row.verified_at, now)) : NOTHING()),
};
