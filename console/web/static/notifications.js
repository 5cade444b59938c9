// @ts-check
// Notifications: who is notified of what, when, and how often at most.

import { api, ask, at, attempt, field, fill, get, h, mayChange, notify, show, table, values, watchHealth, when } from "./app.js";

/** @import { CamerasOut, DeliveryOut, NotificationsOut, PersonOut, ReceiverOut, RuleIn, RuleOut, TrialOut } from "../api.d.ts" */

const DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const PERIODS = /** @type {[number, string][]} */ ([[60, "minute"], [600, "10 minutes"], [3600, "hour"], [86400, "day"]]);
const receiverList = h("div", {}), ruleList = h("div", {}), editor = h("div", {});
/** @type {NotificationsOut} */
let known;
/** @type {string[]} */
let cameras = [];
/** @type {string[]} */
let people = [];

/** @param {ReceiverOut} receiver */
const receiverRow = (receiver) => h("tr", {},
  h("td", {}, h("b", {}, receiver.name)),
  h("td", { class: "long" }, receiver.address),
  h("td", {}, receiver.problem ? h("span", { class: "bad" }, receiver.problem) : h("span", { class: "good" }, "ready"),
    receiver.waiting ? h("div", { class: "note" }, `${receiver.waiting} waiting`) : null),
  h("td", {}, mayChange ? h("div", { class: "row" },
    h("button", { class: "quiet", "aria-label": `Test ${receiver.name}`, onclick: () => test(receiver) }, "Test"),
    h("button", {
      class: "quiet", "aria-label": `Remove ${receiver.name}`,
      onclick: () => ask(`Remove ${receiver.name}`, "Rules no longer reach this receiver.", "Remove", async () => {
        await attempt(() => api("DELETE", `/notifications/receivers/${receiver.id}`), "Removed.");
        await load();
      }),
    }, "Remove")) : null));

/** @param {ReceiverOut} receiver */
async function test(receiver) {
  /** @type {DeliveryOut | undefined} */
  const done = await attempt(() => api("POST", `/notifications/receivers/${receiver.id}/test`));
  if (done) notify(done.problem ?? "The test message was delivered.", Boolean(done.problem));
}

function addReceiver() {
  const form = h("form", {
    class: "row", "aria-label": "Receiver",
    onsubmit: async (event) => {
      event.preventDefault();
      const { name, address } = values(form);
      if (await attempt(() => api("POST", "/notifications/receivers", { name, address }), "Receiver added.")) { form.reset(); await load(); }
    },
  },
    field("Name", { name: "name", required: true, maxlength: 100 }),
    field("Address", { name: "address", required: true, size: 44, placeholder: "ntfy://HOST/TOPIC", autocomplete: "off" }),
    h("button", {}, "Add receiver"),
    known.push_key && "PushManager" in window ? h("button", { type: "button", class: "quiet", onclick: addBrowser }, "Add this browser") : null);
  return [form, h("p", { class: "note" }, "An address of ",
    h("a", { href: "https://appriseit.com/services/", rel: "noreferrer" }, "Apprise"),
    ": mailtos://USER:PASSWORD@HOST?to=ADDRESS, ntfy://HOST/TOPIC, tgram://TOKEN/CHAT, slack://…, pover://… One receiver each.")];
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
    const name = `${/Firefox|Edg|Chrome|Safari/.exec(navigator.userAgent)?.[0] ?? "Browser"}, ${new Date().toLocaleDateString()}`;
    await attempt(() => api("POST", "/notifications/receivers", { name, push: push.toJSON() }), "This browser is a receiver.");
  } catch (error) {
    notify(`This browser refuses push messages: ${/** @type {Error} */ (error).message}`, true);
  }
  await load();
}

/** @param {RuleOut} rule */
function summary(rule) {
  const who = [rule.known ? "everybody known" : rule.people?.join(", "), rule.unknown ? "unknown people" : "", rule.alarms ? "alarms" : ""].filter(Boolean).join(", ") || "nobody";
  const days = rule.days?.length === 7 ? "" : rule.days?.map((day) => DAYS[day]).join(" ");
  const hours = rule.begin === "00:00" && rule.end === "24:00" ? "" : `${rule.begin} to ${rule.end}`;
  return [who, rule.cameras?.length ? `at ${rule.cameras.join(", ")}` : "", days, hours].filter(Boolean).join(" · ");
}

/** @param {number | undefined} seconds */
const period = (seconds) => PERIODS.find(([value]) => value === seconds)?.[1] ?? `${seconds} s`;

/** @param {RuleOut} rule */
const ruleRow = (rule) => h("tr", {},
  h("td", {}, h("b", {}, rule.name), rule.enabled ? null : h("div", { class: "note" }, "off")),
  h("td", {}, summary(rule)),
  h("td", {}, `${rule.max_messages} per ${period(rule.period_s)}`),
  h("td", {}, known.receivers.filter((each) => rule.receivers?.includes(each.id)).map((each) => each.name).join(", ") || h("span", { class: "warn" }, "nobody")),
  h("td", {}, mayChange ? h("div", { class: "row" },
    h("button", { class: "quiet", "aria-label": `Change ${rule.name}`, onclick: () => edit(rule) }, "Change"),
    h("button", {
      class: "quiet", "aria-label": `Remove ${rule.name}`,
      onclick: async () => { await attempt(() => api("DELETE", `/notifications/rules/${rule.id}`), "Removed."); await load(); },
    }, "Remove")) : null));

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
  const form = h("form", { "aria-label": "Rule", onsubmit: async (event) => {
    event.preventDefault();
    const saved = await attempt(() => (rule
      ? api("PUT", `/notifications/rules/${rule.id}`, read()).then(() => true)
      : api("POST", "/notifications/rules", read())), "Saved.");
    if (saved) await load();
  } },
    h("div", { class: "row" }, field("Name", { name: "name", required: true, maxlength: 100, value: rule?.name ?? "" }), check("enabled", "on", "On", rule?.enabled ?? true)),
    h("fieldset", {}, h("legend", {}, "Who"), h("div", { class: "row" },
      check("unknown", "on", "Unknown people", rule?.unknown ?? false),
      check("known", "on", "Everybody known", rule?.known ?? false),
      check("alarms", "on", "Alarms", rule?.alarms ?? false),
      people.length ? h("label", {}, "These people", h("select", { name: "people", multiple: true, size: Math.min(5, people.length) },
        people.map((name) => h("option", { value: name, selected: rule?.people?.includes(name) ?? false }, name)))) : null)),
    cameras.length ? h("fieldset", {}, h("legend", {}, "Where (all cameras, if none is chosen)"), h("div", { class: "row" },
      cameras.map((name) => check("cameras", name, name, rule?.cameras?.includes(name) ?? false)))) : null,
    h("fieldset", {}, h("legend", {}, "When, in the time zone of this host"), h("div", { class: "row" },
      DAYS.map((name, day) => check("days", day, name, chosen.has(day))),
      field("From", { name: "begin", required: true, value: rule?.begin ?? "00:00", size: 5, pattern: "[0-2][0-9]:[0-5][0-9]" }),
      field("To", { name: "end", required: true, value: rule?.end ?? "24:00", size: 5, pattern: "[0-2][0-9]:[0-5][0-9]" }))),
    h("fieldset", {}, h("legend", {}, "How often"), h("div", { class: "row" },
      field("Messages at most", { name: "max_messages", type: "number", min: 1, max: 100000, required: true, value: rule?.max_messages ?? 10 }),
      field("In each", { name: "period_s", value: String(rule?.period_s ?? 3600), options: PERIODS }),
      check("picture", "on", "With the picture", rule?.picture ?? true))),
    h("fieldset", {}, h("legend", {}, "Receivers"), h("div", { class: "row" }, known.receivers.length
      ? known.receivers.map((each) => check("receivers", each.id, each.name, rule?.receivers?.includes(each.id) ?? false))
      : h("p", { class: "note" }, "Add a receiver first."))),
    h("div", { class: "row" }, h("button", {}, "Save"),
      h("button", { type: "button", class: "quiet", onclick: tryOut }, "Try it on yesterday"),
      rule ? h("button", { type: "button", class: "quiet", onclick: () => edit(null) }, "Cancel") : null), out);
  /** @returns {RuleIn} */
  function read() {
    const data = new FormData(form);
    /** @param {string} name */
    const all = (name) => data.getAll(name).map(String);
    return {
      name: String(data.get("name")).trim() || "rule", enabled: data.has("enabled"), people: all("people"), known: data.has("known"),
      unknown: data.has("unknown"), alarms: data.has("alarms"), cameras: all("cameras"), days: all("days").map(Number),
      begin: String(data.get("begin")), end: String(data.get("end")), max_messages: Number(data.get("max_messages")),
      period_s: Number(data.get("period_s")), picture: data.has("picture"), receivers: all("receivers").map(Number),
    };
  }
  async function tryOut() {
    out.replaceChildren(h("p", { class: "note" }, "Looking at yesterday …"));
    /** @type {TrialOut | undefined} */
    const found = await attempt(() => api("POST", "/notifications/try", read()));
    if (!found) return out.replaceChildren();
    const held = found.held_back ? `, and ${found.held_back} more came too often` : "";
    out.replaceChildren(
      h("p", {}, `Yesterday it would have told ${found.count} time${found.count === 1 ? "" : "s"}${held}.`),
      h("ul", {}, found.told.map((each) => h("li", {}, `${when(each.at)}: ${each.title}`))));
  }
  return form;
}

/** @param {RuleOut | null} rule */
function edit(rule) {
  editor.replaceChildren(h("h2", {}, rule ? `Change ${rule.name}` : "New rule"), ruleForm(rule));
  if (rule) editor.scrollIntoView();
}

const request = () => /** @type {Promise<[NotificationsOut, CamerasOut, PersonOut[]]>} */ (
  Promise.all([get("/notifications"), get("/cameras"), get("/people")]));

const load = () => fill(receiverList, request, ([found, configured, enrolled]) => {
  known = found;
  cameras = configured.cameras.map((each) => each.name);
  people = enrolled.map((each) => each.name);
  ruleList.replaceChildren(found.rules.length
    ? table(["name", "what", "at most", "receivers", ""], found.rules.map(ruleRow))
    : h("p", { class: "empty" }, "No rules yet: nobody is notified of anything."));
  if (mayChange) edit(null);
  return [
    found.available ? null : h("p", { class: "warn" }, "Notifications need packages that are not installed: pip install 'facegate[notify]'"),
    found.receivers.length ? table(["name", "address", "state", ""], found.receivers.map(receiverRow)) : h("p", { class: "empty" }, "No receivers yet."),
    ...(mayChange && found.available ? addReceiver() : []),
  ];
});

show(
  h("section", { class: "card", "aria-label": "Receivers" }, h("h2", {}, "Receivers"), receiverList),
  h("section", { class: "card", "aria-label": "Rules" }, h("h2", {}, "Rules"), ruleList),
  mayChange ? h("section", { class: "card" }, editor) : null);
await load();
watchHealth();
