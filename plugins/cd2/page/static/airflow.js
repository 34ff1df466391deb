// The page inside of Airflow's own: its colors, and its navigation.

import { BASE } from "./api.js";
import { el } from "./dom.js";

// Airflow shows the page in a frame of the same origin; opened alone, there is none.
function outer() {
  try {
    return window.parent !== window && window.parent.document ? window.parent : null;
  } catch {
    return null;
  }
}

// Follow the colors that the person chose in Airflow.
export function followTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const parent = outer();
  const apply = () => {
    let theme = null;
    try {
      theme = localStorage.getItem("theme");
    } catch {
      // no storage: the system's
    }
    const inside = parent?.document.documentElement.classList;
    const dark = inside && (inside.contains("dark") || inside.contains("light"))
      ? inside.contains("dark")
      : theme === "dark" || (theme !== "light" && system.matches);
    root.classList.toggle("dark", dark);
  };
  apply();
  system.addEventListener("change", apply);
  window.addEventListener("storage", apply);
  if (parent) {
    const options = { attributes: true, attributeFilter: ["class"] };
    new MutationObserver(apply).observe(parent.document.documentElement, options);
  }
}

// A link to one of Airflow's own pages. Airflow's sandbox forbids a frame to navigate: a link outside of it does.
export function link(path, properties, ...children) {
  const href = new URL(path, BASE).href;
  const follow = (event) => {
    const parent = outer();
    if (!parent) return;
    event.preventDefault();
    const apart = event.ctrlKey || event.metaKey || event.shiftKey || event.button === 1;
    const bridge = parent.document.createElement("a");
    bridge.href = href;
    if (apart) bridge.target = "_blank";
    bridge.rel = "noopener";
    parent.document.body.append(bridge);
    bridge.click();
    bridge.remove();
  };
  return el("a", { href, onclick: follow, onauxclick: (event) => event.button === 1 && follow(event), ...properties }, ...children);
}
