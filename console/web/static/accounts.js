// @ts-check
// Accounts: users, own password, tokens, and the audit log.

import { api, ask, at, attempt, cameraName, dialog, field, fill, get, h, mayChange, show, t, table, values, watchHealth, when, words } from "./app.js";

/** @import { AuditOut, CamerasOut, SessionOut, TokenCreatedOut, TokenOut, UserOut } from "../api.d.ts" */

const LIMIT = 100;
const ROLES = /** @type {[string, string][]} */ (["viewer", "administrator"].map((role) => [role, words(role)]));
const PASSWORD = { type: "password", autocomplete: "new-password", required: true, minlength: 10, maxlength: 200 };
const own = h("div", {}), userList = h("div", {}), tokenList = h("div", {}), log = h("div", {});
const older = h("button", { class: "quiet", hidden: true, onclick: () => attempt(more) }, t("Older entries"));
/** @type {string[]} */
let cameras = [];
/** @type {number | null} */
let next = null;

/** @param {string} name */
const path = (name) => `/users/${encodeURIComponent(name)}`;

/**
 * Cameras that a viewer may see; none chosen means all.
 * @param {string[] | null} chosen
 */
const cameraChoice = (chosen) => h("fieldset", {}, h("legend", {}, t("Cameras that a viewer may see (all, if none is chosen)")),
  h("div", { class: "row" }, cameras.map((name) => h("label", { class: "flat" },
    h("input", { type: "checkbox", name: "cameras", value: name, checked: chosen?.includes(name) ?? false }), cameraName(name)))));

/** @param {HTMLFormElement} form */
function permissions(form) {
  const chosen = new FormData(form).getAll("cameras").map(String);
  return { role: values(form).role, cameras: chosen.length ? chosen : null };
}

/** @param {UserOut} user */
const userRow = (user) => h("tr", { "data-user": user.name },
  h("td", {}, h("b", {}, user.name)), h("td", {}, words(user.role)), h("td", {}, user.cameras?.map(cameraName).join(", ") ?? t("all")),
  h("td", {}, h("div", { class: "row" },
    h("button", { class: "quiet", "aria-label": t("Change {name}", { name: user.name }), onclick: () => changeUser(user) }, t("Change")),
    h("button", {
      class: "quiet", "aria-label": t("Remove {name}", { name: user.name }),
      onclick: () => ask(t("Remove {name}", { name: user.name }), t("The user is logged out everywhere."), t("Remove"), async () => {
        await attempt(() => api("DELETE", path(user.name)), t("Removed."));
        await loadUsers();
      }),
    }, t("Remove")))));

/** @param {UserOut} user */
function changeUser(user) {
  dialog(user.name, (close) => {
    const form = h("form", { onsubmit: async (event) => {
      event.preventDefault();
      if (await attempt(() => api("PUT", path(user.name), permissions(form)).then(() => true), t("Saved."))) { close(); await loadUsers(); }
    } }, field(t("Role"), { name: "role", value: user.role, options: ROLES }), cameraChoice(user.cameras), h("p", {}, h("button", {}, t("Save"))));
    const password = h("form", { class: "row", onsubmit: async (event) => {
      event.preventDefault();
      const done = await attempt(() => api("PUT", `${path(user.name)}/password`, { password: values(password).password }).then(() => true), t("Password set."));
      if (done) close();
    } }, field(t("New password"), { name: "password", ...PASSWORD }), h("button", { class: "quiet" }, t("Set password")));
    return [form, h("h3", {}, t("Password")), password];
  });
}

const userForm = () => {
  const form = h("form", { "aria-label": t("Add a user"), onsubmit: async (event) => {
    event.preventDefault();
    const { name, password } = values(form);
    if (await attempt(() => api("POST", "/users", { name, password, ...permissions(form) }), t("{name} added.", { name }))) {
      form.reset();
      // The first user: from now on a login is required.
      if (!(await get("/session")).name) location.assign(at("login"));
      await loadUsers();
    }
  } }, h("div", { class: "row" },
    field(t("Name"), { name: "name", required: true, maxlength: 64, autocomplete: "off" }), field(t("Password"), { name: "password", ...PASSWORD }),
    field(t("Role"), { name: "role", options: ROLES }), h("button", {}, t("Add user"))), cameras.length ? cameraChoice(null) : null);
  return form;
};

const loadUsers = () => fill(userList, () => Promise.all([get("/users"), get("/cameras")]), (/** @type {[UserOut[], CamerasOut]} */ [users, found]) => {
  cameras = found.cameras.map((each) => each.name);
  return [
    users.length ? table(["name", "role", "cameras", ""], users.map(userRow))
      : h("p", { class: "empty" }, t("No users: everybody on this host may do everything. The first user has to be an administrator.")),
    userForm(),
  ];
});

const loadTokens = () => fill(tokenList, () => get("/tokens"), (/** @type {TokenOut[]} */ tokens) => {
  const form = h("form", { class: "row", "aria-label": t("Create a token"), onsubmit: async (event) => {
    event.preventDefault();
    /** @type {TokenCreatedOut | undefined} */
    const made = await attempt(() => api("POST", "/tokens", values(form)));
    if (!made) return;
    dialog(t("Token {name}", { name: made.name }), () => [h("p", {}, t("Copy it now; it is shown only once.")), h("p", {}, h("code", {}, made.token))]);
    await loadTokens();
  } }, field(t("Name"), { name: "name", required: true, maxlength: 64 }), field(t("Role"), { name: "role", options: ROLES }), h("button", {}, t("Create token")));
  return [
    tokens.length ? table(["name", "role", "created", ""], tokens.map((token) => h("tr", {},
      h("td", {}, token.name), h("td", {}, words(token.role)), h("td", {}, when(token.created)),
      h("td", {}, h("button", { class: "quiet", "aria-label": t("Revoke {name}", { name: token.name }), onclick: async () => {
        await attempt(() => api("DELETE", `/tokens/${token.id}`), t("Revoked."));
        await loadTokens();
      } }, t("Revoke")))))) : h("p", { class: "empty" }, t("No tokens. Programs send one with each request.")),
    form, h("p", { class: "note" }, h("a", { href: at("api/docs") }, t("Documentation of the API"))),
  ];
});

/** @param {AuditOut} page */
function entries(page) {
  next = page.next;
  older.hidden = next === null;
  return page.entries.map((each) => h("tr", {}, h("td", {}, when(each.at)), h("td", {}, each.who || "–"), h("td", {}, each.address),
    h("td", { class: "long" }, `${each.method} ${each.path}`, each.details ? h("div", { class: "note" }, each.details) : null),
    h("td", { class: each.status >= 400 ? "bad" : "" }, each.status)));
}

async function more() {
  log.querySelector("tbody")?.append(...entries(await get(`/audit?limit=${LIMIT}&before=${next}`)));
}

const loadLog = () => fill(log, () => get(`/audit?limit=${LIMIT}`), (/** @type {AuditOut} */ page) => {
  const rows = entries(page);
  return rows.length ? table(["when", "who", "from", "request", "status"], rows, ["status"]) : h("p", { class: "empty" }, t("Nothing was seen or changed yet."));
});

const loadOwn = () => fill(own, () => get("/session"), (/** @type {SessionOut} */ session) => {
  if (!session.needed) return h("p", { class: "note" }, t("No login is needed on this host."));
  const form = h("form", { class: "row", "aria-label": t("Own password"), onsubmit: async (event) => {
    event.preventDefault();
    if (await attempt(() => api("PUT", "/session/password", values(form)).then(() => true), t("Password changed; other sessions have ended."))) form.reset();
  } }, field(t("Current password"), { name: "current", ...PASSWORD, autocomplete: "current-password", minlength: null }),
    field(t("New password"), { name: "password", ...PASSWORD }), h("button", {}, t("Change password")));
  return [h("p", {}, t("Logged in as {name}, {role}.", { name: session.name, role: words(session.role ?? "") })), form];
});

show(
  h("section", { class: "card", "aria-label": t("You") }, h("h2", {}, t("You")), own),
  mayChange ? h("section", { class: "card", "aria-label": t("Users") }, h("h2", {}, t("Users")), userList) : null,
  mayChange ? h("section", { class: "card", "aria-label": t("Tokens") }, h("h2", {}, t("Tokens")), tokenList) : null,
  mayChange ? h("section", { class: "card", "aria-label": t("Audit log") }, h("h2", {}, t("Audit log")),
    h("p", { class: "note" }, t("Who saw and changed what. It can only be appended to."), " ", h("a", { href: at("api/v1/audit.csv"), download: "facegate-audit.csv" }, t("Export as CSV"))),
    log, older) : null);
await Promise.all([loadOwn(), ...(mayChange ? [loadUsers(), loadTokens(), loadLog()] : [])]);
watchHealth();
