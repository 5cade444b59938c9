// @ts-check
// Journeys: the visits of one person over several cameras, on a common time axis.

import { at, cameraName, clock, day, duration, failed, get, h, plural, show, t, values, watchHealth } from "./app.js";
import { pageOf } from "./visit.js";

/** @import { JourneyOut, JourneyVisitOut, JourneysOut, TravelTimeOut } from "../api.d.ts" */

const DAYS = [["1", t("last 24 hours")], ["7", t("last 7 days")], ["30", t("last 30 days")]];
const out = h("section", { "aria-label": t("Journeys") });
const status = h("div", { class: "empty", role: "status" }, t("Loading …"));
const travel = h("details", { class: "card", hidden: true });
const filter = h("form", { class: "card row", "aria-label": t("Filter"), oninput: () => load(), onsubmit: (event) => event.preventDefault() },
  h("label", {}, t("When"), h("select", { name: "days" }, DAYS.map(([value, text]) => h("option", { value }, text)))),
  h("label", {}, t("People"), h("select", { name: "known" }, h("option", { value: "" }, t("all")), h("option", { value: "known" }, t("known")), h("option", { value: "unknown" }, t("unknown")))),
  h("label", { class: "flat" }, h("input", { name: "single", type: "checkbox" }), t("Also people seen by one camera only")));

/** @param {JourneyOut} journey */
const called = ({ name, unknown_id }) => name ?? (unknown_id === null ? t("Unknown") : t("Unknown {number}", { number: String(unknown_id) }));

/** @param {JourneyOut} journey */
function card(journey) {
  const cameras = [...new Set(journey.visits.map(({ visit }) => visit.camera))];
  const span = Math.max(journey.last - journey.first, 1);
  /** @param {JourneyVisitOut} piece */
  const bar = ({ visit, joined_by }) => {
    const left = 100 * (visit.first - journey.first) / span;
    const wide = Math.max(100 * (visit.last - visit.first) / span, 1.5);
    const link = h("a", {
      class: `piece ${joined_by}`, href: pageOf(visit.visit), title: `${cameraName(visit.camera)}, ${clock(visit.first)}`,
      "aria-label": `${cameraName(visit.camera)}, ${clock(visit.first)}, ${joined_by === "face" ? t("by face") : t("by place and time")}`,
    });
    link.style.left = `${Math.min(left, 98.5)}%`;
    link.style.width = `${Math.min(wide, 100 - Math.min(left, 98.5))}%`;
    return link;
  };
  const best = [...journey.visits].sort((a, b) => b.visit.quality - a.visit.quality).find(({ visit }) => visit.best)?.visit;
  return h("article", { class: "card journey" },
    best ? h("img", { src: at(`api/v1/shots/${best.best}/crop.jpg`), alt: "", loading: "lazy" }) : null,
    h("div", { class: "grow" },
      h("h2", {}, called(journey)),
      h("p", { class: "note" }, `${day(journey.first)} ${clock(journey.first)}, ${duration(journey.last - journey.first)}: ${cameras.map(cameraName).join(" → ")}`),
      h("div", { class: "axis" }, cameras.map((camera) => h("div", { class: "lane" },
        h("span", { class: "soft" }, cameraName(camera)),
        h("div", { class: "track" }, journey.visits.filter(({ visit }) => visit.camera === camera).map(bar)))))));
}

/** @param {TravelTimeOut[]} times */
function showTravel(times) {
  travel.hidden = !times.length;
  travel.replaceChildren(h("summary", {}, t("Times between cameras")),
    h("table", {},
      h("thead", {}, h("tr", {}, [t("From"), t("To"), t("Seconds"), t("Source")].map((text) => h("th", {}, text)))),
      h("tbody", {}, times.map(({ start, end, least_s, most_s, walks }) => h("tr", {},
        h("td", {}, cameraName(start)), h("td", {}, cameraName(end)), h("td", {}, `${least_s.toFixed(0)} … ${most_s.toFixed(0)}`),
        h("td", {}, walks ? plural(walks, "learned from {n} journey", "learned from {n} journeys") : t("set")))))));
}

let asked = 0;
async function load() {
  const mine = ++asked;
  const { days, known, single } = values(filter);
  status.hidden = false;
  status.replaceChildren(t("Loading …"));
  out.replaceChildren();
  const since = Date.now() / 1000 - 86400 * Number(days);
  try {
    /** @type {JourneysOut} */
    const found = await get(`/journeys?${new URLSearchParams({ since: String(since), min_cameras: single ? "1" : "2", limit: "200" })}`);
    if (mine !== asked) return;
    const fitting = found.journeys.filter((journey) => !known || (known === "known") === (journey.name !== null));
    out.append(...fitting.map(card));
    showTravel(found.travel);
    if (fitting.length) status.replaceChildren(...(found.complete ? [] : [t("There are more journeys: choose a shorter period.")]));
    else status.replaceChildren(known ? t("No journey fits the filter.") : single ? t("Nobody was seen in this period.") : t("Nobody was seen by two cameras in this period."));
    status.hidden = fitting.length > 0 && found.complete;
  } catch (error) {
    if (mine !== asked) return;
    travel.hidden = true;
    status.replaceChildren(failed(error, load));
  }
}

show(filter, status, out, travel);
await load();
watchHealth();
