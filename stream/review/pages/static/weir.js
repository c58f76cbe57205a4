// The queue moves by itself: numbers and new alerts every two seconds; verdicts by click or by key.
"use strict";

const POLL_MS = 2000;
const QUIET_MS = 5000; // rows keep their places for so long after the analyst's last move
const TOAST_MS = 6000;

const list = document.getElementById("cases");
const fresh = document.getElementById("fresh");
const trouble = document.getElementById("trouble");
const toast = document.getElementById("toast");
const count = (n) => n.toLocaleString("en");
const share = (value) => (value === null ? "-" : `${(100 * value).toFixed(value < 0.1 ? 2 : 1)}%`);
const shown = {
  events: count,
  alerts: count,
  open: count,
  fraud_rate: share,
  alert_precision: share,
  lift: (n) => (n === null ? "-" : `${n.toFixed(1)} x`),
};

let lastMove = -QUIET_MS;
let lastHtml = "";

async function ask(path, options) {
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  const why = await answer.json().catch(() => ({}));
  throw new Error(why.detail ?? `${path} answered ${answer.status}`);
}

async function refresh() {
  try {
    const stats = await (await ask("/api/v1/stats")).json();
    for (const place of document.querySelectorAll("[data-stat]")) {
      place.textContent = shown[place.dataset.stat](stats[place.dataset.stat]);
    }
    if (list) await refreshCases();
    say(trouble, "");
  } catch (error) {
    say(trouble, error instanceof TypeError ? "Weir does not answer. Trying again…" : error.message);
  }
}

async function refreshCases() {
  const html = await (await ask(`/cases?state=${list.dataset.state}`)).text();
  if (html === lastHtml) return;
  if (performance.now() - lastMove < QUIET_MS) return hold(html);
  show(html);
}

function show(html) {
  const here = current()?.dataset.alert;
  list.innerHTML = html;
  lastHtml = html;
  fresh.firstElementChild.blur(); // a button keeps the Enter key until the frame after it was hidden
  fresh.hidden = true;
  select(find(here) ?? cases()[0], false);
}

// Somebody is at work: no row moves under the pointer; those settled elsewhere fade, new ones are announced.
function hold(html) {
  const next = new DOMParser().parseFromString(html, "text/html");
  const ids = new Set([...next.querySelectorAll(".case")].map((item) => item.dataset.alert));
  for (const item of cases()) item.classList.toggle("gone", !ids.delete(item.dataset.alert));
  fresh.hidden = ids.size === 0;
  fresh.firstElementChild.textContent = ids.size === 1 ? "1 new alert" : `${ids.size} new alerts`;
  fresh.firstElementChild.onclick = () => show(html);
}

const cases = () => [...(list?.querySelectorAll(".case") ?? [])];
const current = () => document.querySelector(".case.here") ?? document.querySelector("article[data-alert]");
const find = (alert) => cases().find((item) => item.dataset.alert === alert);

function select(item, scroll = true) {
  if (!item) return;
  for (const other of cases()) other.classList.toggle("here", other === item);
  if (scroll) item.scrollIntoView({ block: "nearest" });
}

function move(step) {
  const all = cases();
  select(all[Math.min(Math.max(all.indexOf(current()) + step, 0), all.length - 1)]);
}

async function give(item, verdict) {
  if (!item) return;
  try {
    await ask(`/api/v1/alerts/${encodeURIComponent(item.dataset.alert)}/verdict`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ verdict }),
    });
  } catch (error) {
    return say(trouble, error.message);
  }
  given(item, verdict);
  refresh();
}

function given(item, verdict) {
  for (const button of item.querySelectorAll("[data-verdict]")) {
    button.setAttribute("aria-pressed", button.dataset.verdict === verdict);
  }
  item.querySelector(".settled").textContent = "said by analyst";
  const state = item.querySelector(".state");
  if (state) state.textContent = verdict;
  if (list?.dataset.state !== "open") return;
  const link = item.querySelector("a.amount");
  const again = Object.assign(document.createElement("a"), { href: link.href, textContent: "change it" });
  say(toast, `${link.textContent} is ${verdict}. `, again);
  setTimeout(() => again.isConnected && say(toast, ""), TOAST_MS);
  const all = cases();
  const next = all[all.indexOf(item) + 1] ?? all[all.indexOf(item) - 1];
  item.remove();
  lastHtml = "";
  select(next);
}

function say(place, text, ...more) {
  place.replaceChildren(text, ...more);
  place.hidden = !text;
}

const keys = {
  j: () => move(1),
  k: () => move(-1),
  f: () => give(current(), "fraud"),
  l: () => give(current(), "legitimate"),
  Enter: () => list && current()?.querySelector("a.amount").click(),
  Escape: () => document.getElementById("back")?.click(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === "Enter" && event.target.closest("a, button")) return;
  lastMove = performance.now();
  keys[event.key]?.();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-verdict]");
  if (button) give(button.closest("[data-alert]"), button.dataset.verdict);
});

list?.addEventListener("pointermove", () => (lastMove = performance.now()));

select(cases()[0], false);
setInterval(refresh, POLL_MS);
