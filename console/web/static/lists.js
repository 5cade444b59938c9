// @ts-check
// Watch lists: groups of enrolled people with a color and a rate of false alarms of their own.

import { api, ask, attempt, fill, field, get, h, mayChange, plural, show, t, table, values, watchHealth, when } from "./app.js";
import { visitsOf } from "./visit.js";

/** @import { MembershipOut, PersonOut, WatchListOut } from "../api.d.ts" */

const RATES = /** @type {[string, string][]} */ ([["", t("as for everybody")], ["0.1", t("1 in 10 visits")], ["0.01", t("1 in 100 visits")], ["0.001", t("1 in 1000 visits")], ["0.0001", t("1 in 10,000 visits")]]);
const lists = h("div", {});
/** @type {string[]} */
let people = [];

/** @param {string} name */
const path = (name) => `/lists/${encodeURIComponent(name)}`;
/**
 * @param {string} list
 * @param {string} person
 */
const member = (list, person) => `${path(list)}/people/${encodeURIComponent(person)}`;

/** @param {number | null} fpir */
function rates(fpir) {
  const value = fpir === null ? "" : String(fpir);
  return RATES.some(([each]) => each === value) ? RATES : [...RATES, /** @type {[string, string]} */ ([value, value])];
}

/**
 * Color and rate of a list, new or known.
 * @param {WatchListOut | null} list
 */
function settings(list) {
  const form = h("form", { class: "row", "aria-label": list ? t("Settings of {list}", { list: list.name }) : t("New list"), onsubmit: async (event) => {
    event.preventDefault();
    const { name, color, fpir } = values(form);
    const body = { color, fpir: fpir === "" ? null : Number(fpir) };
    if (await attempt(() => api("PUT", path(list?.name ?? name.trim()), body).then(() => true), t("Saved."))) await load();
  } },
    list ? null : field(t("Name"), { name: "name", required: true, maxlength: 40, pattern: ".*\\S.*" }),
    field(t("Color"), { name: "color", type: "color", value: list?.color ?? "#c00000" }),
    field(t("Unknown visitors taken for somebody of this list, at most"), { name: "fpir", value: list?.fpir === null || !list ? "" : String(list.fpir), options: rates(list?.fpir ?? null) }),
    h("button", { class: list ? "quiet" : null }, list ? t("Save") : t("Create list")));
  return form;
}

/** @param {string} list */
function addForm(list) {
  const form = h("form", { class: "row", "aria-label": t("Add to {list}", { list }), onsubmit: async (event) => {
    event.preventDefault();
    const { person, reason, expires } = values(form);
    const body = { reason, expires: expires ? new Date(expires).getTime() / 1000 : null };
    if (await attempt(() => api("PUT", member(list, person), body).then(() => true), t("{name} added.", { name: person }))) await load();
  } },
    field(t("Person"), { name: "person", options: people.map((name) => [name, name]) }),
    field(t("Reason"), { name: "reason", maxlength: 500, size: 30 }),
    field(t("Until"), { name: "expires", type: "datetime-local" }),
    h("button", {}, t("Add person")));
  return form;
}

/**
 * @param {WatchListOut} list
 * @param {MembershipOut} each
 */
const row = (list, each) => h("tr", { "data-person": each.person },
  h("td", {}, h("a", { href: visitsOf(each.person) }, each.person)),
  h("td", { class: "long" }, each.reason),
  h("td", {}, each.expires === null ? t("no end") : each.expires * 1000 < Date.now() ? h("span", { class: "warn" }, t("expired {time}", { time: when(each.expires) })) : when(each.expires)),
  h("td", {}, mayChange ? h("button", {
    class: "quiet", "aria-label": t("Remove {name}", { name: each.person }),
    onclick: async () => { await attempt(() => api("DELETE", member(list.name, each.person)), t("Removed.")); await load(); },
  }, t("Remove")) : null));

/** @param {WatchListOut} list */
function card(list) {
  const mark = h("svg", { class: "mark", viewBox: "0 0 10 10", "aria-hidden": true }, h("circle", { cx: 5, cy: 5, r: 5, fill: list.color }));
  return h("section", { class: "card", "aria-label": list.name },
    h("h2", {}, mark, " ", list.name, " ", h("span", { class: "note" }, plural(list.people.length, "{n} person", "{n} people"))),
    list.people.length ? table(["name", "reason", "until", ""], list.people.map((each) => row(list, each))) : h("p", { class: "empty" }, t("Nobody is in this list.")),
    mayChange && people.length ? addForm(list.name) : null,
    mayChange ? h("details", {}, h("summary", {}, t("Settings")), settings(list),
      h("p", {}, h("button", {
        class: "danger",
        onclick: () => ask(t("Delete {name}", { name: list.name }), t("Its people stay enrolled. Notification rules no longer name it."), t("Delete"), async () => {
          await attempt(() => api("DELETE", path(list.name)), t("Deleted."));
          await load();
        }),
      }, t("Delete {name}", { name: list.name })))) : null);
}

const load = () => fill(lists, () => Promise.all([get("/lists"), get("/people")]), (/** @type {[WatchListOut[], PersonOut[]]} */ [found, enrolled]) => {
  people = enrolled.map((person) => person.name);
  return [
    ...(found.length ? found.map(card) : [h("p", { class: "empty" }, t("No watch lists yet."))]),
    people.length ? null : h("p", { class: "note" }, t("Enroll people first: a list has enrolled people.")),
    mayChange ? h("section", { class: "card" }, h("h2", {}, t("New list")), settings(null)) : null,
  ];
});

show(h("p", { class: "note" }, t("A list may have a stricter or a looser threshold than everybody else, and rules of its own for notifications.")), lists);
await load();
watchHealth();
