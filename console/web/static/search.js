// @ts-check
// Search by face: visits whose face fits a picture, a visit or a person.

import { api, at, attempt, cameraName, decimal, field, fill, get, h, language, show, t, watchHealth, when } from "./app.js";
import { visitDialog } from "./visit.js";

/** @import { CamerasOut, PersonOut, SearchHitOut, SearchOut, SearchStateOut } from "../api.d.ts" */

const asked = new URLSearchParams(location.search);
const out = h("section", { role: "status", "aria-label": t("Hits") });
const state = h("p", { class: "note" });
const picture = h("input", { type: "file", name: "picture", accept: "image/jpeg,image/png,image/webp" });
const person = h("select", { name: "person" }, h("option", { value: "" }, t("none")));
const camera = h("select", { name: "camera" }, h("option", { value: "" }, t("all")));
const form = h("form", { class: "card row", "aria-label": t("Search"), onsubmit: (event) => { event.preventDefault(); search(null); } },
  h("label", {}, t("Picture (JPEG, PNG, WebP)"), picture),
  h("label", {}, t("or person"), person),
  h("label", {}, t("Camera"), camera),
  field(t("From"), { name: "since", type: "datetime-local" }),
  field(t("Until"), { name: "until", type: "datetime-local" }),
  field(t("Order"), { name: "order", options: [["newest", t("newest first")], ["best", t("most similar first")]] }),
  field(t("False hits"), { name: "fpir", value: "0.01", options: [["0.1", t("1 in 10 searches")], ["0.01", t("1 in 100 searches")], ["0.001", t("1 in 1000 searches")]] }),
  h("button", {}, t("Search")));

/** @param {SearchHitOut} hit */
function item({ visit, similarity, fpir }) {
  return h("li", {}, h("button", {
    class: "face", "aria-label": `${visit.name ?? t("Unknown")}, ${cameraName(visit.camera)}, ${when(visit.first)}`, onclick: () => visitDialog(visit),
  }, visit.best ? h("img", { src: at(`api/v1/shots/${visit.best}/crop.jpg`), alt: "", loading: "lazy" }) : null),
  h("div", {}, visit.name ?? t("unknown")), h("div", { class: "note" }, `${cameraName(visit.camera)}, ${when(visit.first)}`),
  h("div", { class: "note" }, t("similarity {n}", { n: decimal(similarity, 2) }), fpir === null ? "" : ", " + t("false hit {rate}", { rate: percent(fpir) })));
}

/** @param {number} rate */
const percent = (rate) => `${rate < 1e-6 ? "< 0.0001" : Number((100 * rate).toPrecision(2)).toLocaleString(language)} %`;

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
  out.replaceChildren(h("p", { class: "note" }, t("Searching; the first time takes a moment …")));
  /** @type {SearchOut | undefined} */
  const found = await attempt(() => api("POST", "/search", body));
  out.replaceChildren();
  if (!found) return;
  const rate = found.fpir === null
    ? t("No rate of false hits is known for this recognizer.")
    : t("Somebody who was never here is found in {rate} of such searches.", { rate: percent(found.fpir) });
  out.append(
    h("p", {}, `${t("{n} of {all} visits fit, from similarity {similarity}.", { n: found.hits.length, all: found.searched, similarity: decimal(found.min_similarity, 2) })} ${rate}`),
    ...(found.complete ? [] : [h("p", { class: "warn" }, t("There are more hits: choose a camera or a shorter period."))]),
    h("ul", { class: "faces" }, found.hits.map(item)));
}

const choices = h("div", {});
show(form, choices, state, out);
await fill(choices, () => Promise.all([get("/search"), get("/cameras"), get("/people")]), (/** @type {[SearchStateOut, CamerasOut, PersonOut[]]} */ [{ enabled, embedded, to_embed }, { cameras }, people]) => {
  if (!enabled) state.textContent = t("Templates are not kept: the console was started with --no-templates.");
  else if (embedded < to_embed) state.textContent = t("Embedding stored visits: {n} of {all}.", { n: embedded, all: to_embed });
  camera.append(...cameras.map((each) => h("option", { value: each.name }, each.display_name)));
  person.append(...people.map((each) => h("option", {}, each.name)));
  return [];
});
watchHealth();
const start = asked.get("visit");
if (start) await search(start);
