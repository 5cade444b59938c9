// @ts-check
// Confirmations of the name of a visit by several users, where the console asks for them.

import { api, attempt, clock, get, h, mayChange, t } from "./app.js";

/** @import { ConfirmationOut, VisitOut } from "../api.d.ts" */

/**
 * Who has confirmed the name, and a button to do so; empty where no confirmations are asked for.
 * @param {VisitOut} visit
 */
export function confirmation(visit) {
  const out = h("div", {});
  const path = `/visits/${visit.visit}/confirmation`;
  /** @param {ConfirmationOut | undefined} found */
  const show = (found) => {
    if (!found || !found.needed || !found.name) return;
    const { name, needed, by, confirmed } = found;
    out.replaceChildren(h("section", { class: "card", "aria-label": t("Confirmation") },
      h("p", { class: confirmed ? "good" : "warn" }, confirmed ? t("{name} is confirmed.", { name }) : t("{n} of {needed} users have confirmed {name}.", { n: by.length, needed, name })),
      by.length ? h("p", { class: "note" }, by.map((each) => `${each.who} ${clock(each.at)}`).join(", ")) : null,
      mayChange ? h("p", {},
        h("button", { onclick: async () => show(await attempt(() => api("PUT", path, { name }))) }, t("Confirm {name}", { name })), " ",
        h("button", { class: "quiet", onclick: async () => show(await attempt(() => api("DELETE", path))) }, t("Withdraw my confirmation"))) : null));
  };
  get(path).then(show, () => {});
  return out;
}
