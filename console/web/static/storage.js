// @ts-check
// What is kept of each camera, and for how long.

import { api, attempt, bytes, cameraName, failed, get, h, mayChange, show, t, usage, watchHealth } from "./app.js";

/** @import { RetentionOut } from "../api.d.ts" */

/** @typedef {{ row: HTMLElement, read: () => Record<string, number | null> }} Line */

/**
 * A row of the table: settings of one camera, or of all.
 * @param {string} label
 * @param {Record<string, any>} own
 * @param {RetentionOut} found
 * @param {boolean} common
 * @returns {Line}
 */
function line(label, own, found, common) {
  const inherited = common ? {} : found.all;
  const days = found.days;
  const known = inherited.days ?? days;
  /** @type {Record<string, string>} */
  const defaults = {
    days: String(known), unknown_days: String(inherited.unknown_days ?? own.days ?? known),
    scene_days: String(inherited.scene_days ?? t("as visits")), scene_px: String(inherited.scene_px ?? 960),
    clip_s: String(inherited.clip_s ?? 0),
  };
  /**
   * @param {string} name
   * @param {string} what
   * @param {Record<string, unknown>} more
   */
  const number = (name, what, more) => h("input", {
    type: "number", name, "aria-label": `${label}: ${what}`, value: own[name] ?? "", placeholder: defaults[name], disabled: !mayChange, ...more,
  });
  const any = { min: 0.01, max: 36500, step: "any" };
  const inputs = [
    number("days", t("days of known people"), any), number("unknown_days", t("days of unknown people"), any), number("scene_days", t("days of whole pictures and video"), any),
    number("clip_s", t("seconds of video"), { min: 0, max: 8, step: "any" }), number("scene_px", t("size of whole pictures"), { min: 64, max: 1280, step: 1 }),
  ];
  const off = own.scene_px === null || (!("scene_px" in own) && inherited.scene_px === null);
  const keeps = h("input", { type: "checkbox", checked: !off, disabled: !mayChange, "aria-label": t("{camera}: keep whole pictures", { camera: label }) });
  return {
    row: h("tr", {}, h("th", { scope: "row" }, label), inputs.slice(0, 4).map((input) => h("td", {}, input)), h("td", {}, h("span", { class: "row" }, keeps, inputs[4]))),
    read: () => {
      /** @type {Record<string, number | null>} */
      const chosen = Object.fromEntries(inputs.filter((input) => input.value !== "").map((input) => [input.name, Number(input.value)]));
      if (!keeps.checked) chosen.scene_px = null;
      else if (inherited.scene_px === null && chosen.scene_px === undefined) chosen.scene_px = 960;
      return chosen;
    },
  };
}

async function load() {
  /** @type {RetentionOut} */
  let found;
  try {
    found = await get("/retention");
  } catch (error) {
    return show(failed(error, load));
  }
  const all = line(t("All cameras"), found.all, found, true);
  const cameras = Object.entries(found.cameras).map(([name, own]) => ({ name, line: line(cameraName(name), own, found, false) }));
  const save = async () => {
    const body = { all: all.read(), cameras: Object.fromEntries(cameras.map((each) => [each.name, each.line.read()])) };
    if (await attempt(() => api("PUT", "/retention", body, { "if-match": found.config }), t("Saved. What is older is deleted within a minute."))) await load();
  };
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  show(
    h("form", { class: "card", onsubmit: (event) => { event.preventDefault(); save(); } },
      h("h2", {}, t("How long visits are kept")),
      h("div", { class: "scroll", tabindex: 0 }, h("table", { class: "fields" },
        h("thead", {}, h("tr", {}, h("th", {}, t("Camera")), h("th", {}, t("Known people (days)")), h("th", {}, t("Unknown people (days)")), h("th", {}, t("Pictures and video (days)")), h("th", {}, t("Video before and after (s)")), h("th", {}, t("Whole pictures (pixels)")))),
        h("tbody", {}, all.row, cameras.map((each) => each.line.row)))),
      h("p", { class: "note" }, t("An empty field has the value shown in it. A recording holds all cameras, so the shortest time of any camera applies to recordings."), " ",
        t("When the store or the recordings exceed {size}, the oldest are deleted earlier. Unknown visitors on the People page are kept as long as unknown people, at most 30 days.", { size: bytes(1e6 * found.max_mb) })),
      mayChange ? h("button", {}, t("Save")) : null),
    h("section", { class: "card", "aria-label": t("In use") }, h("h2", {}, t("In use")),
      h("p", {}, usage(found.disk))),
    exportForm(zone));
}

/** @param {string} zone */
function exportForm(zone) {
  const from = h("input", { type: "date", name: "from" });
  const to = h("input", { type: "date", name: "to" });
  /** @param {string} file */
  const save = (file) => {
    const query = new URLSearchParams({ zone });
    if (from.value) query.set("since", String(new Date(`${from.value}T00:00`).getTime() / 1000));
    if (to.value) {
      const day = new Date(`${to.value}T00:00`);
      query.set("until", String(new Date(day.getFullYear(), day.getMonth(), day.getDate() + 1).getTime() / 1000));
    }
    location.assign(new URL(`../api/v1/${file}?${query}`, import.meta.url).href);
  };
  return h("section", { class: "card" }, h("h2", {}, t("Export")),
    h("div", { class: "row" }, h("label", {}, t("From"), from), h("label", {}, t("To"), to),
      h("button", { type: "button", onclick: () => save("attendance.csv") }, t("First in, last out (CSV)")),
      h("button", { type: "button", class: "quiet", onclick: () => save("visits.csv") }, t("Visits (CSV)"))));
}

await load();
watchHealth();
