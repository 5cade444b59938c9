// @ts-check
// Visits, newest first, updated live.

import { failed, get, h, show, subscribe, values, watchHealth } from "./app.js";
import { POOR, isPoor, visitCard, visitDialog } from "./visit.js";

/** @import { CamerasOut, VisitOut, VisitsOut } from "../api.d.ts" */

const LIMIT = 60;
const SHOWN = 300; // limits pages that stay open for days
const list = h("ul", { class: "faces", "aria-label": "Visits" });
const more = h("button", { class: "quiet", onclick: () => load(next) }, "Older visits");
/** Loading, failed, empty or filtered: what is shown where the list has nothing. */
const none = h("div", { class: "empty", role: "status" });
const clear = h("button", { type: "button", class: "quiet", onclick: () => { filter.reset(); load(); } }, "Clear the filter");
/** @type {number | null} */
let next = null;

const which = h("select", { name: "camera" }, h("option", { value: "" }, "all"));
const filter = h("form", { class: "card row", "aria-label": "Filter", oninput: () => load(), onsubmit: (event) => event.preventDefault() },
  h("label", {}, "Camera", which),
  h("label", {}, "Name", h("input", { name: "name", type: "search", maxlength: 100 })),
  h("label", {}, "People", h("select", { name: "known" }, h("option", { value: "" }, "all"), h("option", { value: "true" }, "known"), h("option", { value: "false" }, "unknown"))),
  h("label", {}, "Min. quality", h("input", { name: "min_quality", type: "number", min: 0, max: 100, placeholder: "0" })),
  h("label", { class: "flat" }, h("input", { name: "poor", type: "checkbox" }), `Unknown faces below quality ${POOR}`));

/** @param {VisitOut} visit */
function item(visit) {
  return h("li", { "data-visit": visit.visit, "data-id": visit.id }, visitCard(visit, () => visitDialog(visit)));
}

const query = () => Object.fromEntries(Object.entries(values(filter)).filter(([, value]) => value !== ""));

/** @param {number | null} before */
async function load(before = null) {
  const { poor, ...given } = query();
  const parameters = new URLSearchParams({ ...given, ...(poor ? {} : { min_unknown_quality: String(POOR) }), limit: String(LIMIT), ...(before === null ? {} : { before: String(before) }) });
  if (before === null) none.replaceChildren("Loading …");
  /** @type {VisitsOut} */
  let page;
  try {
    page = await get(`/visits?${parameters}`);
  } catch (error) {
    if (before === null) list.replaceChildren();
    more.hidden = true;
    none.replaceChildren(failed(error, () => load(before)));
    none.hidden = false;
    return;
  }
  if (before === null) list.replaceChildren();
  list.append(...page.visits.map(item));
  next = page.next;
  more.hidden = next === null;
  none.replaceChildren(...(Object.keys(query()).length
    ? ["No visit fits the filter. ", clear]
    : [`No visits yet. They appear here as soon as a face shot is sent; unknown faces below quality ${POOR} are not shown.`]));
  none.hidden = list.children.length > 0;
}

/** @param {VisitOut} visit */
function onVisit(visit) {
  const { camera, name, known, min_quality, poor } = query();
  const old = list.querySelector(`[data-visit="${CSS.escape(visit.visit)}"]`);
  const fits = (poor || !isPoor(visit)) && (!camera || camera === visit.camera) && (!name || name === visit.name)
    && (!known || (known === "true") === (visit.name !== null)) && (!min_quality || visit.quality >= Number(min_quality));
  if (old && !fits) old.remove();
  else if (old) old.replaceWith(item(visit));
  else if (fits) {
    const fresh = item(visit);
    fresh.classList.add("fresh");
    list.prepend(fresh);
    none.hidden = true;
    while (list.children.length > SHOWN && scrollY < innerHeight) {
      list.lastElementChild?.remove();
      next = Number(/** @type {HTMLElement} */ (list.lastElementChild).dataset.id);
      more.hidden = false;
    }
  }
}

more.hidden = true;
show(filter, list, none, more);
await load();
get("/cameras").then((/** @type {CamerasOut} */ { cameras }) => which.append(...cameras.map((camera) => h("option", {}, camera.name))));
watchHealth();
subscribe("visit", onVisit, () => load());
