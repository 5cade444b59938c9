// @ts-check
// Who was here, newest first, and as they come.

import { get, h, hear, show, values, watchHealth } from "./app.js";
import { visitCard, visitDialog } from "./visit.js";

/** @import { Cameras, Visit, Visits } from "../api.d.ts" */

const LIMIT = 60;
const SHOWN = 300; // the oldest leave a page that has been open for days
const list = h("ul", { class: "faces", "aria-label": "Visits" });
const more = h("button", { class: "quiet", onclick: () => load(next) }, "Older ones");
const none = h("p", { class: "empty" }, "Nobody yet. As soon as somebody is worth recognizing, they appear here.");
/** @type {number | null} */
let next = null;

const which = h("select", { name: "camera" }, h("option", { value: "" }, "all"));
const filter = h("form", { class: "card row", "aria-label": "Which visits", oninput: () => load(), onsubmit: (event) => event.preventDefault() },
  h("label", {}, "Camera", which),
  h("label", {}, "Name", h("input", { name: "name", type: "search", maxlength: 100 })),
  h("label", {}, "Who", h("select", { name: "known" }, h("option", { value: "" }, "everybody"), h("option", { value: "true" }, "known"), h("option", { value: "false" }, "unknown"))),
  h("label", {}, "Quality from", h("input", { name: "min_quality", type: "number", min: 0, max: 100, placeholder: "0" })));

/** @param {Visit} visit */
function item(visit) {
  return h("li", { "data-visit": visit.visit, "data-id": visit.id }, visitCard(visit, () => visitDialog(visit)));
}

const asked = () => Object.fromEntries(Object.entries(values(filter)).filter(([, value]) => value !== ""));

/** @param {number | null} before */
async function load(before = null) {
  const query = new URLSearchParams({ ...asked(), limit: String(LIMIT), ...(before === null ? {} : { before: String(before) }) });
  /** @type {Visits} */
  const page = await get(`/visits?${query}`);
  if (before === null) list.replaceChildren();
  list.append(...page.visits.map(item));
  next = page.next;
  more.hidden = next === null;
  none.hidden = list.children.length > 0;
}

/** @param {Visit} visit */
function heard(visit) {
  const { camera, name, known, min_quality } = asked();
  const old = list.querySelector(`[data-visit="${CSS.escape(visit.visit)}"]`);
  const fits = (!camera || camera === visit.camera) && (!name || name === visit.name)
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

await load();
show(filter, list, none, more);
/** @type {Cameras} */
const { cameras } = await get("/cameras");
which.append(...cameras.map((camera) => h("option", {}, camera.name)));
watchHealth();
hear("visit", heard, () => load());
