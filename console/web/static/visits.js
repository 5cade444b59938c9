// @ts-check
// Visits, newest first, updated live; the filter is part of the address.

import { at, cameraName, failed, fill, get, h, show, subscribe, t, values, watchHealth } from "./app.js";
import { POOR, isPoor, visitCard, visitDialog } from "./visit.js";

/** @import { CamerasOut, VisitOut, VisitsOut } from "../api.d.ts" */

const LIMIT = 60;
const SHOWN = 300; // limits pages that stay open for days
const TYPING_MS = 250;
const EMPTY_PAGES = 100; // a page of rare matches may be empty; the next ones are asked for as well
const list = h("ul", { class: "faces", "aria-label": t("Visits") });
const more = h("button", { class: "quiet", onclick: () => load(next) }, t("Older visits"));
/** Loading, failed, empty or filtered: what is shown where the list has nothing. */
const status = h("div", { class: "empty", role: "status" }, t("Loading …"));
const clear = h("button", { type: "button", class: "quiet", onclick: () => { filter.reset(); changed(); } }, t("Clear the filter"));
/** @type {number | null} */
let next = null;
/** @type {string | null} */
let meant = null;
let asked = 0;

const which = h("select", { name: "camera" }, h("option", { value: "" }, t("all")));
const names = h("datalist", { id: "names" });
const periods = h("select", { name: "when" },
  [["", t("any time")], ["hour", t("last hour")], ["today", t("today")], ["yesterday", t("yesterday")], ["week", t("last 7 days")], ["range", t("from … to")]]
    .map(([value, text]) => h("option", { value }, text)));
const range = h("span", { class: "row", hidden: true },
  h("label", {}, t("From"), h("input", { name: "from", type: "datetime-local" })),
  h("label", {}, t("To"), h("input", { name: "to", type: "datetime-local" })));
const filter = h("form", { class: "card row", "aria-label": t("Filter"), oninput: changed, onsubmit: (event) => event.preventDefault() },
  h("label", {}, t("When"), periods), range,
  h("label", {}, t("Camera"), which),
  h("label", {}, t("Name"), h("input", { name: "name", type: "search", maxlength: 100, list: "names", autocomplete: "off" })), names,
  h("label", {}, t("People"), h("select", { name: "known" }, h("option", { value: "" }, t("all")), h("option", { value: "true" }, t("known")), h("option", { value: "false" }, t("unknown")))),
  h("label", {}, t("Min. quality"), h("input", { name: "min_quality", type: "number", min: 0, max: 100, placeholder: "0" })),
  h("label", { class: "flat" }, h("input", { name: "poor", type: "checkbox" }), t("Unknown faces below quality {n}", { n: POOR })));

/** @param {VisitOut} visit */
function item(visit) {
  return h("li", { "data-visit": visit.visit, "data-id": visit.id }, visitCard(visit, () => visitDialog(visit)));
}

/** @returns {Record<string, string>} */
const chosen = () => Object.fromEntries(Object.entries(values(filter)).filter(([, value]) => value !== ""));

/**
 * Unix times of a choice of "when".
 * @param {Record<string, string>} choice
 */
function period({ when, from, to }) {
  const midnight = new Date().setHours(0, 0, 0, 0) / 1000;
  const before = new Date(new Date().setDate(new Date().getDate() - 1)).setHours(0, 0, 0, 0) / 1000; // a day may have 23 hours
  const now = Date.now() / 1000;
  const time = (/** @type {string} */ text) => (text ? new Date(text).getTime() / 1000 : undefined);
  /** @type {Record<string, [number?, number?]>} */
  const found = { hour: [now - 3600], today: [midnight], yesterday: [before, midnight], week: [now - 7 * 86400], range: [time(from), time(to)] };
  const [since, until] = found[when] ?? [];
  return { since, until };
}

function query() {
  const { when, from, to, poor, ...rest } = chosen();
  const times = Object.entries(period({ when, from, to })).filter(([, value]) => value !== undefined);
  return /** @type {Record<string, string>} */ ({ ...rest, ...(poor ? {} : { min_unknown_quality: String(POOR) }), ...Object.fromEntries(times.map(([name, value]) => [name, String(value)])) });
}

let timer = 0;
function changed() {
  range.hidden = periods.value !== "range";
  const address = new URLSearchParams(chosen()).toString();
  history.replaceState(null, "", address ? `?${address}` : location.pathname);
  clearTimeout(timer);
  timer = setTimeout(load, TYPING_MS);
}

/** @param {...(Node | string)} what */
function say(...what) {
  status.replaceChildren(...what);
  status.hidden = !what.length;
}

/** @param {number | null} before */
async function load(before = null) {
  const [mine, start] = [++asked, before];
  const filtered = Object.keys(chosen()).length > 0;
  if (before === null) { list.replaceChildren(); more.hidden = true; }
  say(t("Loading …"));
  try {
    /** @type {VisitsOut} */
    let page;
    for (let pages = 0; ; pages++) {
      const parameters = new URLSearchParams({ ...query(), limit: String(LIMIT), ...(before === null ? {} : { before: String(before) }) });
      page = await get(`/visits?${parameters}`);
      if (mine !== asked) return;
      before = page.next;
      if (page.visits.length || before === null || pages > EMPTY_PAGES) break;
    }
    list.append(...page.visits.map(item));
    next = page.next;
    meant = page.name;
    more.hidden = next === null;
    const name = chosen().name;
    if (list.children.length) say(...(name && meant && meant !== name ? [t("Visits of {meant}.", { meant })] : []));
    else if (filtered) say(t("No visit fits the filter."), name && meant === null ? " " + t("Nobody is called “{name}”.", { name }) : "", " ", clear);
    else say(t("No visits yet. They appear here as soon as a face shot is sent; unknown faces below quality {n} are not shown.", { n: POOR }));
  } catch (error) {
    if (mine !== asked) return;
    more.hidden = true;
    say(failed(error, () => load(start)));
  }
}

/** @param {VisitOut} visit */
function onVisit(visit) {
  const { camera, name, known, min_quality, since, until, min_unknown_quality } = query();
  const old = list.querySelector(`[data-visit="${CSS.escape(visit.visit)}"]`);
  const fits = (!min_unknown_quality || !isPoor(visit)) && (!camera || camera === visit.camera) && (!name || (meant !== null && meant === visit.name))
    && (!known || (known === "true") === (visit.name !== null)) && (!min_quality || visit.quality >= Number(min_quality))
    && (!since || visit.first >= Number(since)) && (!until || visit.first < Number(until));
  if (old && !fits) old.remove();
  else if (old) old.replaceWith(item(visit));
  else if (fits) {
    const fresh = item(visit);
    fresh.classList.add("fresh");
    list.prepend(fresh);
    say();
    while (list.children.length > SHOWN && scrollY < innerHeight) {
      list.lastElementChild?.remove();
      next = Number(/** @type {HTMLElement} */ (list.lastElementChild).dataset.id);
      more.hidden = false;
    }
  }
}

const download = h("a", {
  class: "button quiet", href: "#",
  onclick: () => { download.href = at(`api/v1/visits.csv?${new URLSearchParams({ ...query(), zone: Intl.DateTimeFormat().resolvedOptions().timeZone })}`); },
}, t("CSV"));
filter.append(download);
const choices = h("div", {});
show(filter, choices, list, status, more);
for (const [name, value] of new URLSearchParams(location.search)) {
  const input = filter.elements.namedItem(name);
  if (name === "camera" && value) which.append(h("option", { value }, cameraName(value)));
  if (input instanceof HTMLInputElement && input.type === "checkbox") input.checked = true;
  else if (input instanceof HTMLInputElement || input instanceof HTMLSelectElement) input.value = value;
}
range.hidden = periods.value !== "range";
await load();
watchHealth();
subscribe("visit", onVisit, () => load());
fill(choices, () => Promise.all([get("/cameras"), get("/names")]), (/** @type {[CamerasOut, string[]]} */ [{ cameras }, people]) => {
  which.append(...cameras.filter((camera) => camera.name !== which.value).map((camera) => h("option", { value: camera.name }, camera.display_name)));
  names.append(...people.map((name) => h("option", { value: name })));
  return [];
});
