// @ts-check
// Notifications: who is notified of what, when, and how often at most.

import { WEEKDAYS, api, ask, at, attempt, cameraName, field, fill, get, h, language, mayChange, notify, plural, show, t, table, values, watchHealth, when } from "./app.js";

/** @import { CamerasOut, DeliveryOut, NotificationsOut, PersonOut, ReceiverOut, RuleIn, RuleOut, TrialOut, WatchListOut } from "../api.d.ts" */

const PERIODS = /** @type {[number, string][]} */ ([[60, t("minute")], [600, t("10 minutes")], [3600, t("hour")], [86400, t("day")]]);
const receiverList = h("div", {}), ruleList = h("div", {}), editor = h("div", {});
/** @type {NotificationsOut} */
let known;
/** @type {string[]} */
let cameras = [];
/** @type {string[]} */
let people = [];
/** @type {string[]} */
let lists = [];

/** @param {ReceiverOut} receiver */
const receiverRow = (receiver) => h("tr", {},
  h("td", {}, h("b", {}, receiver.name)),
  h("td", { class: "long" }, receiver.address),
  h("td", {}, receiver.problem ? h("span", { class: "bad" }, receiver.problem) : h("span", { class: "good" }, t("ready")),
    receiver.waiting ? h("div", { class: "note" }, t("{n} waiting", { n: receiver.waiting })) : null),
  h("td", {}, mayChange ? h("div", { class: "row" },
    h("button", { class: "quiet", "aria-label": t("Test {name}", { name: receiver.name }), onclick: () => test(receiver) }, t("Test")),
    h("button", {
      class: "quiet", "aria-label": t("Remove {name}", { name: receiver.name }),
      onclick: () => ask(t("Remove {name}", { name: receiver.name }), t("Rules no longer reach this receiver."), t("Remove"), async () => {
        await attempt(() => api("DELETE", `/notifications/receivers/${receiver.id}`), t("Removed."));
        await load();
      }),
    }, t("Remove"))) : null));

/** @param {ReceiverOut} receiver */
async function test(receiver) {
  /** @type {DeliveryOut | undefined} */
  const done = await attempt(() => api("POST", `/notifications/receivers/${receiver.id}/test`));
  if (done) notify(done.problem ?? t("The test message was delivered."), Boolean(done.problem));
}

function addReceiver() {
  const form = h("form", {
    class: "row", "aria-label": t("Receiver"),
    onsubmit: async (event) => {
      event.preventDefault();
      const { name, address } = values(form);
      if (await attempt(() => api("POST", "/notifications/receivers", { name, address }), t("Receiver added."))) { form.reset(); await load(); }
    },
  },
    field(t("Name"), { name: "name", required: true, maxlength: 100 }),
    field(t("Address"), { name: "address", required: true, size: 44, placeholder: "ntfy://HOST/TOPIC", autocomplete: "off" }),
    h("button", {}, t("Add receiver")),
    known.push_key && "PushManager" in window ? h("button", { type: "button", class: "quiet", onclick: addBrowser }, t("Add this browser")) : null);
  return [form, h("p", { class: "note" }, h("a", { href: "https://appriseit.com/services/", rel: "noreferrer" }, t("An address of Apprise")),
    ": mailtos://USER:PASSWORD@HOST?to=ADDRESS, ntfy://HOST/TOPIC, tgram://TOKEN/CHAT, slack://…, pover://… ", t("One receiver each."))];
}

/** Subscribe this browser to Web Push; browsers allow it over HTTPS and on this host. */
async function addBrowser() {
  try {
    await navigator.serviceWorker.register(at("static/service-worker.js"));
    const registration = await navigator.serviceWorker.getRegistration(at("static/"));
    if (!registration) throw new Error("the service worker is missing");
    const worker = registration.installing ?? registration.waiting;
    if (worker) await new Promise((done) => worker.addEventListener("statechange", () => worker.state === "activated" && done(null)));
    const push = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: known.push_key });
    const name = `${/Firefox|Edg|Chrome|Safari/.exec(navigator.userAgent)?.[0] ?? "Browser"}, ${new Date().toLocaleDateString(language)}`;
    await attempt(() => api("POST", "/notifications/receivers", { name, push: push.toJSON() }), t("This browser is a receiver."));
  } catch (error) {
    notify(t("This browser refuses push messages: {reason}", { reason: /** @type {Error} */ (error).message }), true);
  }
  await load();
}

/** @param {RuleOut} rule */
function summary(rule) {
  const who = [rule.known ? t("everybody known") : rule.people?.join(", "), ...(rule.lists ?? []).map((list) => t("list {list}", { list })), rule.unknown ? t("unknown people") : "", rule.alarms ? t("alarms") : ""].filter(Boolean).join(", ") || t("nobody");
  const days = rule.days?.length === 7 ? "" : rule.days?.map((day) => WEEKDAYS[day]).join(" ");
  const hours = rule.begin === "00:00" && rule.end === "24:00" ? "" : t("{begin} to {end}", { begin: rule.begin, end: rule.end });
  return [who, rule.cameras?.length ? t("at {cameras}", { cameras: rule.cameras.map(cameraName).join(", ") }) : "", days, hours].filter(Boolean).join(" · ");
}

/** @param {number | undefined} seconds */
const period = (seconds) => PERIODS.find(([value]) => value === seconds)?.[1] ?? t("{s} s", { s: seconds });

/** @param {RuleOut} rule */
const ruleRow = (rule) => h("tr", {},
  h("td", {}, h("b", {}, rule.name), rule.enabled ? null : h("div", { class: "note" }, t("off"))),
  h("td", {}, summary(rule)),
  h("td", {}, t("{n} per {period}", { n: rule.max_messages ?? 0, period: period(rule.period_s) })),
  h("td", {}, known.receivers.filter((each) => rule.receivers?.includes(each.id)).map((each) => each.name).join(", ") || h("span", { class: "warn" }, t("nobody"))),
  h("td", {}, mayChange ? h("div", { class: "row" },
    h("button", { class: "quiet", "aria-label": t("Change {name}", { name: rule.name }), onclick: () => edit(rule) }, t("Change")),
    h("button", {
      class: "quiet", "aria-label": t("Remove {name}", { name: rule.name }),
      onclick: async () => { await attempt(() => api("DELETE", `/notifications/rules/${rule.id}`), t("Removed.")); await load(); },
    }, t("Remove"))) : null));

/**
 * @param {string} name
 * @param {string | number} value
 * @param {string} text
 * @param {boolean} checked
 */
const check = (name, value, text, checked) => h("label", { class: "flat" }, h("input", { type: "checkbox", name, value, checked }), text);

/** @param {RuleOut | null} rule */
function ruleForm(rule) {
  const out = h("div", { role: "status" });
  const chosen = new Set(rule?.days ?? [0, 1, 2, 3, 4, 5, 6]);
  const form = h("form", { "aria-label": t("Rule"), onsubmit: async (event) => {
    event.preventDefault();
    const saved = await attempt(() => (rule
      ? api("PUT", `/notifications/rules/${rule.id}`, read()).then(() => true)
      : api("POST", "/notifications/rules", read())), t("Saved."));
    if (saved) await load();
  } },
    h("div", { class: "row" }, field(t("Name"), { name: "name", required: true, maxlength: 100, value: rule?.name ?? "" }), check("enabled", "on", t("On"), rule?.enabled ?? true)),
    h("fieldset", {}, h("legend", {}, t("Who")), h("div", { class: "row" },
      check("unknown", "on", t("Unknown people"), rule?.unknown ?? false),
      check("known", "on", t("Everybody known"), rule?.known ?? false),
      check("alarms", "on", t("Alarms"), rule?.alarms ?? false),
      lists.map((name) => check("lists", name, t("list {list}", { list: name }), rule?.lists?.includes(name) ?? false)),
      people.length ? h("label", {}, t("These people"), h("select", { name: "people", multiple: true, size: Math.min(5, people.length) },
        people.map((name) => h("option", { value: name, selected: rule?.people?.includes(name) ?? false }, name)))) : null)),
    cameras.length ? h("fieldset", {}, h("legend", {}, t("Where (all cameras, if none is chosen)")), h("div", { class: "row" },
      cameras.map((name) => check("cameras", name, cameraName(name), rule?.cameras?.includes(name) ?? false)))) : null,
    h("fieldset", {}, h("legend", {}, t("When, in the time zone of this host")), h("div", { class: "row" },
      WEEKDAYS.map((name, day) => check("days", day, name, chosen.has(day))),
      field(t("From"), { name: "begin", required: true, value: rule?.begin ?? "00:00", size: 5, pattern: "[0-2][0-9]:[0-5][0-9]" }),
      field(t("To"), { name: "end", required: true, value: rule?.end ?? "24:00", size: 5, pattern: "[0-2][0-9]:[0-5][0-9]" }))),
    h("fieldset", {}, h("legend", {}, t("How often")), h("div", { class: "row" },
      field(t("Messages at most"), { name: "max_messages", type: "number", min: 1, max: 100000, required: true, value: rule?.max_messages ?? 10 }),
      field(t("In each"), { name: "period_s", value: String(rule?.period_s ?? 3600), options: PERIODS }),
      check("picture", "on", t("With the picture"), rule?.picture ?? true))),
    h("fieldset", {}, h("legend", {}, t("Receivers")), h("div", { class: "row" }, known.receivers.length
      ? known.receivers.map((each) => check("receivers", each.id, each.name, rule?.receivers?.includes(each.id) ?? false))
      : h("p", { class: "note" }, t("Add a receiver first.")))),
    h("div", { class: "row" }, h("button", {}, t("Save")),
      h("button", { type: "button", class: "quiet", onclick: tryOut }, t("Try it on yesterday")),
      rule ? h("button", { type: "button", class: "quiet", onclick: () => edit(null) }, t("Cancel")) : null), out);
  /** @returns {RuleIn} */
  function read() {
    const data = new FormData(form);
    /** @param {string} name */
    const all = (name) => data.getAll(name).map(String);
    return {
      name: String(data.get("name")).trim() || "rule", enabled: data.has("enabled"), people: all("people"), lists: all("lists"), known: data.has("known"),
      unknown: data.has("unknown"), alarms: data.has("alarms"), cameras: all("cameras"), days: all("days").map(Number),
      begin: String(data.get("begin")), end: String(data.get("end")), max_messages: Number(data.get("max_messages")),
      period_s: Number(data.get("period_s")), picture: data.has("picture"), receivers: all("receivers").map(Number),
    };
  }
  async function tryOut() {
    out.replaceChildren(h("p", { class: "note" }, t("Looking at yesterday …")));
    /** @type {TrialOut | undefined} */
    const found = await attempt(() => api("POST", "/notifications/try", read()));
    if (!found) return out.replaceChildren();
    out.replaceChildren(
      h("p", {}, plural(found.count, "Yesterday it would have told {n} time.", "Yesterday it would have told {n} times."),
        found.held_back ? " " + t("{n} more came too often.", { n: found.held_back }) : ""),
      h("ul", {}, found.told.map((each) => h("li", {}, `${when(each.at)}: ${each.title}`))));
  }
  return form;
}

/** @param {RuleOut | null} rule */
function edit(rule) {
  editor.replaceChildren(h("h2", {}, rule ? t("Change {name}", { name: rule.name }) : t("New rule")), ruleForm(rule));
  if (rule) editor.scrollIntoView();
}

const request = () => /** @type {Promise<[NotificationsOut, CamerasOut, PersonOut[], WatchListOut[]]>} */ (
  Promise.all([get("/notifications"), get("/cameras"), get("/people"), get("/lists")]));

const load = () => fill(receiverList, request, ([found, configured, enrolled, watched]) => {
  known = found;
  cameras = configured.cameras.map((each) => each.name);
  people = enrolled.map((each) => each.name);
  lists = watched.map((each) => each.name);
  ruleList.replaceChildren(found.rules.length
    ? table(["name", "what", "at most", "receivers", ""], found.rules.map(ruleRow))
    : h("p", { class: "empty" }, t("No rules yet: nobody is notified of anything.")));
  if (mayChange) edit(null);
  return [
    found.available ? null : h("p", { class: "warn" }, t("Notifications need packages that are not installed: pip install 'facegate[notify]'")),
    found.receivers.length ? table(["name", "address", "state", ""], found.receivers.map(receiverRow)) : h("p", { class: "empty" }, t("No receivers yet.")),
    ...(mayChange && found.available ? addReceiver() : []),
  ];
});

show(
  h("section", { class: "card", "aria-label": t("Receivers") }, h("h2", {}, t("Receivers")), receiverList),
  h("section", { class: "card", "aria-label": t("Rules") }, h("h2", {}, t("Rules")), ruleList),
  mayChange ? h("section", { class: "card" }, editor) : null);
await load();
watchHealth();
