"use strict";
// Search: a table is found by its name and comment, a column also by its type, its values and what it refers to.
const query = document.getElementById("query");
const found = document.getElementById("found");
const nothing = document.getElementById("nothing");
const text = (element) => (element ? element.textContent.toLowerCase() : "");
const tables = [...document.querySelectorAll("section.table")].map((section) => {
  const name = text(section.querySelector("h3"));
  return {
    section,
    link: document.querySelector(`nav a[href="#${section.id}"]`),
    name,
    about: `${name} ${text(section.querySelector(".comment"))}`,
    columns: [...section.querySelectorAll("tbody tr")].map((row) => ({
      row,
      about: text(row),
      values: [...row.querySelectorAll("details")].map((details) => ({ details, about: text(details) })),
    })),
  };
});
const areas = [...document.querySelectorAll("section.area")];
const groups = [...document.querySelectorAll("nav .group")];

function counted(number, what) {
  return `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
}

function search() {
  const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shownTables = 0;
  let shownColumns = 0;
  for (const table of tables) {
    const whole = words.every((word) => table.about.includes(word));
    let some = 0;
    for (const column of table.columns) {
      const hit = whole || words.every((word) => column.about.includes(word) || table.name.includes(word));
      column.row.hidden = !hit;
      some += hit;
      for (const { details, about } of column.values) details.open = words.some((word) => about.includes(word));
    }
    table.section.hidden = !whole && some === 0;
    if (table.link) table.link.parentElement.hidden = table.section.hidden;
    shownTables += !table.section.hidden;
    shownColumns += table.section.hidden ? 0 : some;
  }
  const all = words.length === 0;
  for (const figure of document.querySelectorAll("figure")) figure.hidden = !all;
  for (const area of areas) area.hidden = !area.querySelector("section.table:not([hidden])");
  for (const group of groups) group.hidden = !group.querySelector("li:not([hidden])");
  nothing.hidden = shownTables > 0;
  found.textContent = all ? "" : `${counted(shownTables, "table")}, ${counted(shownColumns, "column")}`;
}

function clear() {
  query.value = "";
  search();
}

// What a link leads to may be hidden by the search.
function show(id) {
  const target = id && document.getElementById(id);
  if (!target || !target.closest("[hidden]")) return;
  clear();
  target.scrollIntoView();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  const address = link && link.getAttribute("href");
  if (address && address.startsWith("#")) show(address.slice(1));
});
window.addEventListener("hashchange", () => show(location.hash.slice(1)));
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && event.target !== query && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    query.focus();
  }
  if (event.key === "Escape" && event.target === query) clear();
});
query.addEventListener("input", search);

// On paper nothing can be opened.
let closed = [];
window.addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const details of closed) details.open = true;
});
window.addEventListener("afterprint", () => {
  for (const details of closed) details.open = false;
});

document.querySelector(".search").hidden = false;
if (query.value) search(); // after the browser's Back
