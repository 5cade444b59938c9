// @ts-check
// Search by face: visits whose face fits a picture, a visit or a person.

import { api, at, attempt, field, get, h, show, watchHealth, when } from "./app.js";
import { visitDialog } from "./visit.js";

/** @import { CamerasOut, PersonOut, SearchHitOut, SearchOut, SearchStateOut } from "../api.d.ts" */

const asked = new URLSearchParams(location.search);
const out = h("section", { role: "status", "aria-label": "Hits" });
const state = h("p", { class: "note" });
const picture = h("input", { type: "file", name: "picture", accept: "image/jpeg,image/png,image/webp" });
const person = h("select", { name: "person" }, h("option", { value: "" }, "none"));
const camera = h("select", { name: "camera" }, h("option", { value: "" }, "all"));
const form = h("form", { class: "card row", "aria-label": "Search", onsubmit: (event) => { event.preventDefault(); search(null); } },
  h("label", {}, "Picture (JPEG, PNG, WebP)", picture),
  h("label", {}, "or person", person),
  h("label", {}, "Camera", camera),
  field("From", { name: "since", type: "datetime-local" }),
  field("Until", { name: "until", type: "datetime-local" }),
  field("Order", { name: "order", options: [["newest", "newest first"], ["best", "most similar first"]] }),
  field("False hits", { name: "fpir", value: "0.01", options: [["0.1", "1 in 10 searches"], ["0.01", "1 in 100 searches"], ["0.001", "1 in 1000 searches"]] }),
  h("button", {}, "Search"));

/** @param {SearchHitOut} hit */
function item({ visit, similarity, fpir }) {
  return h("li", {}, h("button", {
    class: "face", "aria-label": `${visit.name ?? "Unknown"}, ${visit.camera}, ${when(visit.first)}`, onclick: () => visitDialog(visit),
  }, visit.best ? h("img", { src: at(`api/v1/shots/${visit.best}/crop.jpg`), alt: "", loading: "lazy" }) : null),
  h("div", {}, visit.name ?? "unknown"), h("div", { class: "note" }, `${visit.camera}, ${when(visit.first)}`),
  h("div", { class: "note" }, `similarity ${similarity.toFixed(2)}`, fpir === null ? "" : `, false hit ${percent(fpir)}`));
}

/** @param {number} rate */
const percent = (rate) => `${rate < 1e-6 ? "< 0.0001" : Number((100 * rate).toPrecision(2))} %`;

/** @param {string | null} visit */
async function search(visit) {
  const body = new FormData(form);
  if (visit) body.set("visit", visit);
  for (const name of ["since", "until"]) {
    const given = body.get(name);
    if (given) body.set(name, String(new Date(String(given)).getTime() / 1000));
  }
  if (visit || !picture.files?.length) body.delete("picture");
  for (const [name, value] of [...body]) if (value === "" || (visit && name === "person")) body.delete(name);
  out.replaceChildren(h("p", { class: "note" }, "Searching; the first time takes a moment …"));
  /** @type {SearchOut | undefined} */
  const found = await attempt(() => api("POST", "/search", body));
  out.replaceChildren();
  if (!found) return;
  const rate = found.fpir === null
    ? "No rate of false hits is known for this recognizer."
    : `Somebody who was never here is found in ${percent(found.fpir)} of such searches.`;
  out.append(
    h("p", {}, `${found.hits.length} of ${found.searched} visits fit, from similarity ${found.min_similarity.toFixed(2)}. ${rate}`),
    ...(found.complete ? [] : [h("p", { class: "warn" }, "There are more hits: choose a camera or a shorter period.")]),
    h("ul", { class: "faces" }, found.hits.map(item)));
}

show(form, state, out);
/** @type {SearchStateOut} */
const { enabled, embedded, to_embed } = await get("/search");
if (!enabled) state.textContent = "Templates are not kept: the console was started with --no-templates.";
else if (embedded < to_embed) state.textContent = `Embedding stored visits: ${embedded} of ${to_embed}.`;
/** @type {CamerasOut} */
const { cameras } = await get("/cameras");
camera.append(...cameras.map((each) => h("option", {}, each.name)));
/** @type {PersonOut[]} */
const people = await get("/people");
person.append(...people.map((each) => h("option", {}, each.name)));
watchHealth();
const start = asked.get("visit");
if (start) await search(start);
