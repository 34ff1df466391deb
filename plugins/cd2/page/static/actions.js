// What a person can start from the page, with the person's own rights at Airflow.

import { link } from "./airflow.js";
import * as api from "./api.js";
import { el, say } from "./dom.js";
import { number, plural } from "./format.js";
import { explain } from "./problems.js";

const NAMES_SHOWN = 12;

// Ask in a dialog, do it, and tell what came of it.
//   what: { title, text: [paragraphs], button, danger, act: async () => {sentence, path, label} }; then: called after success.
function ask(what, then) {
  const cancel = el("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const confirm = el("button", { type: "button", class: what.danger ? "danger" : "primary", onclick: () => go() }, what.button);
  const outcome = el("div", { role: "alert" });
  const buttons = el("div", { class: "buttons" }, cancel, confirm);
  const dialog = el("dialog", { "aria-labelledby": "asked", onclose: () => dialog.remove() },
    el("h2", { id: "asked" }, what.title), what.text.filter(Boolean).map((text) => (typeof text === "string" ? el("p", {}, text) : text)), outcome, buttons);
  async function go() {
    confirm.disabled = true;
    confirm.textContent = "Asking Airflow …";
    outcome.replaceChildren();
    try {
      const { sentence, path, label } = await what.act();
      outcome.replaceChildren(el("p", { class: "done" }, sentence, " ", link(path, {}, label)));
      say(sentence);
      confirm.remove();
      cancel.textContent = "Close";
      cancel.focus();
      then();
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error;
      outcome.replaceChildren(el("p", { class: "problem" }, explain(error, what.doing)));
      confirm.disabled = false;
      confirm.textContent = what.button;
    }
  }
  document.body.append(dialog);
  dialog.showModal();
  cancel.focus();
}

async function started(conf) {
  const run = await api.trigger(conf);
  return { sentence: "The run was triggered.", path: api.urls.run(run.dag_run_id), label: "See it in Airflow" };
}

// What the trigger form says about a parameter.
function formSays(dag, name) {
  const param = dag?.params?.[name];
  return param?.description ?? param?.schema?.description ?? "";
}

const has = (dag, name) => Boolean(dag?.params && name in dag.params);

function listed(names) {
  if (!names.length) return "All tables that the settings include.";
  const shown = names.slice(0, NAMES_SHOWN).join(", ");
  return names.length > NAMES_SHOWN ? `${shown}, and ${number(names.length - NAMES_SHOWN)} more.` : `${shown}.`;
}

// The buttons for these tables; none: for all.
export function tableButtons({ dag, active, then }, names) {
  if (!dag) return [];
  const these = names.length ? plural(names.length, "table") : "all tables";
  const conf = names.length ? { tables: names, namespaces: [...new Set(names.map((name) => name.split(".")[0]))].sort() } : {};
  const waits = active ? "A refresh is running: this run starts when that one has ended." : "";
  const paused = dag.is_paused ? "The DAG is paused: the run waits until somebody unpauses it in Airflow." : "";
  const button = (focus, label, what, disabled) => el("button", {
    type: "button", "data-focus": focus, disabled, title: disabled ? "Select tables first" : undefined, class: focus === "sync" ? "primary" : undefined,
    onclick: () => ask(what, then),
  }, label);
  return [
    button("sync", `Sync ${these}`, {
      title: `Sync ${these}?`, button: "Start the run", doing: "start a run",
      text: [listed(names), "Brings each table up to date with DAP; one that was never loaded is initialized.", waits, paused],
      act: () => started(conf),
    }),
    has(dag, "full_refresh") && button("full", "Full refresh", {
      title: `Full refresh of ${these}?`, button: "Start the full refresh", danger: true, doing: "start a run",
      text: [listed(names), formSays(dag, "full_refresh"), "Readers see the old rows until each table is done.", waits, paused],
      act: () => started({ ...conf, full_refresh: true }),
    }, !names.length),
    has(dag, "verify") && button("verify", "Verify", {
      title: `Verify ${these}?`, button: "Start the verification", doing: "start a run",
      text: [listed(names), formSays(dag, "verify"), waits, paused],
      act: () => started({ ...conf, verify: true }),
    }, !names.length),
  ];
}

// The button that runs the failed tasks of a run again.
export function clearButton({ run, failures, then }) {
  const tables = failures.filter((ti) => ti.map_index >= 0).length;
  const others = failures.filter((ti) => ti.map_index < 0).map((ti) => ti.task_id);
  const what = [tables && plural(tables, "table"), ...others].filter(Boolean).join(", ");
  return el("button", { type: "button", class: "primary", "data-focus": "clear", onclick: () => ask({
    title: "Run the failed tasks again?", button: "Clear the failed tasks", doing: "clear tasks",
    text: [`Clears the failed tasks of the last run: ${what}.`, "Nothing else runs again. First remove the cause: the same error would come back."],
    act: async () => {
      await api.clearFailed(run.dag_run_id);
      return { sentence: "The failed tasks are cleared and run again.", path: api.urls.run(run.dag_run_id), label: "See the run in Airflow" };
    },
  }, then) }, "Clear failed tasks");
}
