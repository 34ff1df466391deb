// What went wrong between the page and Airflow, as a sentence: what is wrong, and what to do.

import { link } from "./airflow.js";
import { DAG_ID, urls } from "./api.js";
import { el } from "./dom.js";

// A sentence about an action that failed.
export function explain(error, doing) {
  switch (error.kind) {
    case "logged-out": return "You are logged out: log in to Airflow again, then repeat this.";
    case "forbidden": return `You lack the permission to ${doing} of this DAG. Ask an Airflow administrator for it.`;
    case "missing": return `Airflow does not know it (anymore): ${error.detail || "reload the page"}.`;
    case "refused": return `Airflow refused: ${error.detail || `status ${error.status}`}`;
    default: return "Airflow does not answer. Try again in a moment.";
  }
}

// What stands above everything while Airflow does not tell what the page wants to show.
//   since: when it last did, in words; null: never.
export function notice(error, since) {
  const old = since ? ` This page shows the state of ${since}.` : "";
  const box = (tone, title, ...text) => el("div", { class: `card notice ${tone}` }, el("p", {}, el("strong", {}, title), " ", text));
  switch (error.kind) {
    case "logged-out":
      return box("warn", "You are logged out.", `${old.trim()} `, link(urls.home, {}, "Log in to Airflow again"), ".");
    case "forbidden":
      return box("warn", "You lack the permission to see this.", `The page needs the permission to read the DAG ${DAG_ID}, its runs, task instances and XComs. Ask an Airflow administrator for it.${old}`);
    case "missing":
      return box("warn", `Airflow does not know the DAG ${DAG_ID}.`, "Airflow may still be parsing its file; otherwise ", link(urls.home, {}, "Airflow's home"), ` shows import errors.${old}`);
    case "refused":
      return box("bad", "Airflow refused to answer.", `${error.detail || `Status ${error.status}`}.${old}`);
    default:
      return box("bad", "Airflow does not answer.", `The page tries again automatically.${old}`);
  }
}
