// Elements without a framework. Texts are always text nodes: nothing that comes from Airflow is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

// An element: el("p", { class: "muted", onclick: f, "aria-label": "x", hidden: true }, "text", child, [children], null)
export function el(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

// The same for SVG.
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "indeterminate") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Put children into a place of the page, unless what they show has not changed since the last time.
const shown = new WeakMap();
export function show(place, what, make) {
  const signature = JSON.stringify(what);
  if (shown.get(place) === signature) return;
  shown.set(place, signature);
  const focused = place.contains(document.activeElement) ? document.activeElement.getAttribute("data-focus") : null;
  place.replaceChildren(...[make()].flat(3).filter((child) => child));
  if (focused) place.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
}

// Say something to people who listen to the page.
export function say(text) {
  document.getElementById("said").textContent = text;
}
