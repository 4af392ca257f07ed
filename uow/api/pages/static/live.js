// Shows a page as it changes, and lets one go through it with keys. A page is whole without it.
//
// The server sends the regions of the page that have changed (elements with data-live, by id). A
// new one is not put in the place of the old one: the old one is made like it, node by node, so
// that focus, scroll position, open details and ticked boxes stay as they are.
"use strict";

const MARK_MS = 1500;
const SHORTEST_RETRY_MS = 2000;
const LONGEST_RETRY_MS = 30000;
const PATIENCE_MS = 4000; // before somebody is told that there is no connection

const TEXT_FIELDS =
  "textarea, select, input:not([type=checkbox], [type=radio], [type=button], [type=submit])";

// ---- Times in the reader's zone; the title says them in UTC ----

const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const dateAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function tellTimes(within) {
  const today = new Date().toDateString();
  for (const one of within.querySelectorAll("time[datetime]")) {
    const at = new Date(one.dateTime);
    if (!isNaN(at)) {
      one.textContent = (at.toDateString() === today ? time : dateAndTime).format(at);
    }
  }
}

// ---- Making one element like another ----

function isAlike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && one.id === other.id;
}

const OURS = new Set(["open", "data-changed"]); // what the reader has opened, what is marked

function takeAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !OURS.has(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !OURS.has(name)) old.setAttribute(name, value);
  }
}

function nextAlike(node, wanted) {
  while (node && !isAlike(node, wanted)) node = node.nextSibling;
  return node;
}

function takeChildren(old, fresh) {
  const wanted = new Set([...fresh.children].map((one) => one.id).filter(Boolean));
  for (const one of [...old.children]) {
    if (one.id && !wanted.has(one.id)) one.remove();
  }
  let here = old.firstChild;
  const goOn = (isLeft) => {
    const last = here;
    here = here.nextSibling;
    if (!isLeft) last.remove();
  };
  for (const next of [...fresh.childNodes]) {
    const found = nextAlike(here, next);
    if (!found) {
      old.insertBefore(next, here);
      continue;
    }
    while (here !== found && !here.id) goOn(false);
    if (found === here) goOn(true);
    else old.insertBefore(found, here); // what has the focus loses it when it is moved
    makeLike(found, next);
  }
  while (here) goOn(false);
}

function makeLike(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  takeAttributes(old, fresh);
  takeChildren(old, fresh);
}

// ---- Regions ----

const waiting = new Map(); // html by id, of what has come and is not shown yet

function isDirty(field) {
  if (field.type === "checkbox" || field.type === "radio") {
    return field.checked !== field.defaultChecked;
  }
  if (field.nodeName === "SELECT") {
    const first = [...field.options].findIndex((one) => one.defaultSelected);
    return field.selectedIndex !== Math.max(first, 0);
  }
  return "defaultValue" in field && field.type !== "hidden" && field.value !== field.defaultValue;
}

function isBeingUsed(region) {
  return [...region.querySelectorAll("input, select, textarea")].some(isDirty);
}

function whyPaused() {
  const selection = getSelection();
  if (!selection.isCollapsed && selection.toString()) return "while text is selected";
  if (document.activeElement?.matches(TEXT_FIELDS)) return "while you type";
  return "";
}

function markChanged(region, before) {
  for (const row of region.querySelectorAll("tr[id]")) {
    if (before.get(row.id) === row.textContent) continue;
    row.setAttribute("data-changed", "");
    setTimeout(() => row.removeAttribute("data-changed"), MARK_MS);
  }
}

function show(id, html) {
  const region = document.getElementById(id);
  if (!region) return;
  const parsed = document.createElement("template");
  parsed.innerHTML = html;
  const fresh = parsed.content.firstElementChild;
  if (!fresh) return region.replaceChildren(), region.removeAttribute("data-live");
  if (fresh.dataset.live === region.dataset.live) return;
  const rows = [...region.querySelectorAll("tr[id]")];
  const before = new Map(rows.map((row) => [row.id, row.textContent]));
  const focused = document.activeElement;
  tellTimes(fresh);
  makeLike(region, fresh);
  markChanged(region, before);
  if (focused !== document.activeElement && focused.isConnected) {
    focused.focus({ preventScroll: true }); // it was moved
  }
}

function showWaiting() {
  let why = waiting.size ? whyPaused() : "";
  if (!why) {
    for (const [id, html] of waiting) {
      const region = document.getElementById(id);
      if (region && isBeingUsed(region)) {
        why = "for what you have ticked or typed";
      } else {
        waiting.delete(id);
        show(id, html);
      }
    }
  }
  say(why ? "paused" : "live", why ? `Paused ${why}` : "Live");
}

// ---- The connection ----

const status = document.getElementById("live");
let source = null;
let isOver = false;
let retryMs = SHORTEST_RETRY_MS;
let retry = 0;
let worry = 0;

function say(state, text) {
  status.dataset.state = state;
  status.ariaLive = state === "away" ? "polite" : "off"; // nobody wants to hear of each pause
  if (status.textContent !== text) status.textContent = text;
}

function connect() {
  if (source || isOver || document.hidden) return;
  source = new EventSource(location.pathname + location.search);
  source.addEventListener("open", () => {
    clearTimeout(worry);
    worry = 0;
    retryMs = SHORTEST_RETRY_MS;
    showWaiting();
  });
  source.addEventListener("regions", (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) waiting.set(id, html);
    showWaiting();
  });
  source.addEventListener("trouble", () => {
    say("away", "The servers do not answer: this is what was known before");
  });
  source.addEventListener("over", (event) => {
    const { status } = JSON.parse(event.data);
    isOver = true;
    disconnect();
    say("away", status === 404 || status === 410 ? "This is there no more" : "Not live: load the page again");
  });
  source.addEventListener("error", () => {
    worry ||= setTimeout(() => say("away", "Not connected; trying again"), PATIENCE_MS);
    if (source?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    source = null;
    retry = setTimeout(connect, retryMs * (0.75 + Math.random() / 2));
    retryMs = Math.min(retryMs * 2, LONGEST_RETRY_MS);
  });
}

function disconnect() {
  clearTimeout(retry);
  clearTimeout(worry);
  worry = 0;
  source?.close();
  source = null;
}

function connectOrNot() {
  if (document.hidden) disconnect();
  else connect();
}

// ---- Keys ----

const help = document.getElementById("help");

function goToRow(by) {
  const rows = [...document.querySelectorAll("tr[data-row]")].filter((row) => row.querySelector("a"));
  const at = rows.indexOf(document.activeElement?.closest("tr[data-row]"));
  const row = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by];
  row?.querySelector("a").focus();
  row?.scrollIntoView({ block: "nearest" });
}

const KEYS = {
  "/": () => document.getElementById("find")?.focus(),
  "j": () => goToRow(1),
  "k": () => goToRow(-1),
  "?": () => help.open || help.showModal(),
};

addEventListener("keydown", (event) => {
  const act = KEYS[event.key];
  const isOurs = act && !event.ctrlKey && !event.altKey && !event.metaKey && !event.isComposing;
  if (!isOurs || event.target.closest?.(`${TEXT_FIELDS}, [contenteditable], dialog`)) return;
  event.preventDefault();
  act();
});

document.getElementById("to-help").addEventListener("click", (event) => {
  event.preventDefault();
  KEYS["?"]();
});

help.querySelector("a").addEventListener("click", (event) => {
  event.preventDefault();
  help.close();
});

// ---- Begin ----

tellTimes(document);

if (document.querySelector("[data-live]")) {
  for (const what of ["selectionchange", "focusout", "input", "change"]) {
    document.addEventListener(what, () => waiting.size && setTimeout(showWaiting));
  }
  document.addEventListener("visibilitychange", connectOrNot);
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", connectOrNot);
}
