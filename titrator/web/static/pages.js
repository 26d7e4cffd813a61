// What pages do more conveniently with a script. Each works without: nothing here decides, computes or records.
"use strict";

// The worklist by keyboard: j and k go down and up, Enter opens (a link), x ticks, / searches, s signs what is ticked.
const lines = () => [...document.querySelectorAll("[data-line]")];

function go(step) {
  const all = lines();
  const at = all.findIndex((line) => line.contains(document.activeElement));
  const next = all[Math.max(0, Math.min(all.length - 1, at + step))];
  if (next) next.querySelector("a").focus();
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !lines().length) return;
  if (event.key === "j") go(1);
  else if (event.key === "k") go(-1);
  else if (event.key === "/") document.querySelector("[type=search]")?.focus();
  else if (event.key === "x") document.activeElement.closest("[data-line]")?.querySelector("[type=checkbox]")?.click();
  else if (event.key === "s") document.querySelector("[data-sign]")?.focus();
  else return;
  event.preventDefault();
});

// A button is pressed once. The service would carry out a second press no more than once, but people wonder.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post" || event.defaultPrevented) return;
  setTimeout(() => event.target.querySelectorAll("button").forEach((button) => { button.disabled = true; }), 0);
});

// Whoever comes back with the browser's own button finds buttons that work.
window.addEventListener("pageshow", () => {
  document.querySelectorAll("form button").forEach((button) => { button.disabled = false; });
});

document.querySelectorAll("[data-print]").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
});

// A screen that nobody uses shows no patient: after the time that a session lasts idle, the page is covered. What was
// filled in is sent as what is to be given back: the service keeps it until after login and never carries it out, for in
// another tab somebody may still be at work in the same session.
const idle = Number(document.body.dataset.idleSeconds || 0) * 1000;
if (idle) {
  let changed = null;
  document.addEventListener("input", (event) => { changed = event.target.form; });
  setTimeout(() => {
    if (changed && changed.method === "post") {
      const back = document.createElement("input");
      Object.assign(back, { type: "hidden", name: "returned", value: "1" });
      changed.append(back);
      changed.submit();
    } else window.location.assign("/login?next=" + encodeURIComponent(window.location.pathname + window.location.search));
  }, idle + 2000);
}
