// @ts-check
// People: enrolled people, problems of their pictures, unknown visitors.

import { api, ask, at, attempt, cameraName, clock, day, dialog, failed, field, fill, get, h, mayChange, notify, plural, reasonOf, show, t, values, watchHealth, when } from "./app.js";
import { visitsOf } from "./visit.js";
import { walkInDialog } from "./walk_in.js";

/** @import { EnrollmentResultOut, ErasedOut, FaultOut, PersonOut, PictureOut, UnknownOut } from "../api.d.ts" */

/** @param {string} name */
const path = (name) => `/people/${encodeURIComponent(name)}`;

/** @param {FaultOut[]} faults */
function faultList(faults) {
  return faults.map((fault) => h("p", { class: "warn" },
    [fault.person, fault.source ? ` (${fault.source})` : "", ": ", fault.reason, "; ", fault.remedy].join("")));
}

/**
 * @param {string | null} name
 * @param {() => unknown} done
 */
function uploadForm(name, done) {
  const out = h("div", { role: "status" });
  const files = h("input", { type: "file", name: "files", accept: "image/jpeg,image/png,image/webp", multiple: true, required: true });
  const nameInput = h("input", { name: "name", required: true, maxlength: 100, value: name ?? "", readonly: Boolean(name) });
  /** @param {boolean} accept */
  const send = async (accept) => {
    const chosen = files.files ?? [];
    const body = new FormData();
    for (const file of chosen) body.append("files", file);
    body.append("accept", String(accept));
    out.replaceChildren(h("p", { class: "note" }, t("Checking the pictures; the first time takes a moment …")));
    /** @type {EnrollmentResultOut | undefined} */
    const result = await attempt(() => api("POST", `${path(nameInput.value.trim())}/pictures`, body));
    out.replaceChildren();
    if (!result) return;
    const all = chosen.length;
    out.append(
      h("p", { class: result.added ? "good" : "warn" }, t("{added} of {all} enrolled.", { added: result.added, all })),
      ...faultList(result.faults),
      result.faults.length && result.added < all ? h("button", { class: "quiet", onclick: () => send(true) }, t("Enroll anyway")) : "",
    );
    if (result.added) done();
  };
  return h("form", { onsubmit: (event) => { event.preventDefault(); send(false); } },
    h("div", { class: "row" },
      name ? null : h("label", {}, t("Name"), nameInput),
      h("label", {}, t("Pictures (JPEG, PNG, WebP)"), files), h("button", {}, t("Enroll"))), out);
}

/** @param {PersonOut} person */
async function personDialog(person) {
  /** @type {PictureOut[] | undefined} */
  const pictures = await attempt(() => get(path(person.name)));
  if (!pictures) return;
  dialog(person.name, (close) => {
    const again = async () => { close(); await load(); };
    /** @param {number} row */
    const remove = (row) => ask(t("Remove a picture"), t("The picture is no longer used for recognition."), t("Remove"), async () => {
      await attempt(() => api("DELETE", `/people/pictures/${row}`), t("Removed."));
      await again();
    });
    const rename = h("form", {
      class: "row",
      onsubmit: async (event) => {
        event.preventDefault();
        const { name } = values(event.target);
        if (await attempt(() => api("PATCH", path(person.name), { name }).then(() => true), t("Renamed."))) await again();
      },
    }, field(t("Name"), { name: "name", required: true, maxlength: 100, value: person.name }), h("button", { class: "quiet" }, t("Rename")));
    const others = people.filter((each) => each.name !== person.name);
    const merge = others.length ? h("form", {
      class: "row",
      onsubmit: (event) => {
        event.preventDefault();
        const { into } = values(event.target);
        ask(t("Merge {name} into {into}", { name: person.name, into }), t("All pictures and visits are moved. This cannot be undone."), t("Merge"), async () => {
          if (await attempt(() => api("POST", `${path(person.name)}/merge`, { name: into }), t("Merged."))) await again();
        });
      },
    }, field(t("Merge into"), { name: "into", options: others.map((each) => [each.name, each.name]) }), h("button", { class: "quiet" }, t("Merge"))) : null;
    return [
      h("p", {}, h("a", { href: visitsOf(person.name) }, t("All visits of {name}", { name: person.name }))),
      h("div", { class: "strip" }, pictures.map((picture) => h("figure", {},
        h("img", { src: at(`api/v1/people/pictures/${picture.row}.jpg`), alt: picture.source }),
        h("figcaption", {}, picture.kind === "negative" ? t("counterexample") : [t("quality {n}", { n: picture.quality }), picture.pose ? t(picture.pose) : ""].filter(Boolean).join(", ")),
        mayChange ? h("button", { class: "quiet", "aria-label": t("Remove {source}", { source: picture.source }), onclick: () => remove(picture.row) }, t("Remove")) : null))),
      mayChange ? h("h3", {}, t("More pictures")) : null,
      mayChange ? uploadForm(person.name, load) : null,
      mayChange ? h("h3", {}, t("Change")) : null,
      mayChange ? rename : null,
      mayChange ? merge : null,
      mayChange ? h("p", {}, h("button", {
        class: "danger",
        onclick: () => ask(t("Remove {name} everywhere", { name: person.name }),
          t("Erases pictures, stored visits, similar unknown faces, undelivered events, and recording segments with this person. This cannot be undone."),
          t("Remove everywhere"), async () => {
            /** @type {ErasedOut[] | undefined} */
            const erased = await attempt(() => api("DELETE", path(person.name)));
            if (erased) notify(t("Removed: {what}.", { what: erased.filter((each) => each.found).map((each) => `${each.found} ${t(each.what)}`).join(", ") }));
            await again();
          }),
      }, t("Remove everywhere"))) : null,
    ].filter(Boolean);
  });
}

/**
 * @param {UnknownOut} unknown
 * @param {number} index
 * @param {UnknownOut[]} all
 */
function cluster(unknown, index, all) {
  const others = all.filter((each) => each !== unknown);
  /**
   * @param {string} action
   * @param {unknown} body
   * @param {string} done
   */
  const change = async (action, body, done) => {
    await attempt(() => api("POST", `/unknowns/${unknown.id}/${action}`, body), done);
    await load();
  };
  const wrong = new Set();
  const faces = unknown.visits.slice(-12).map((visit) => {
    const mark = h("button", {
      class: "face", "aria-pressed": "false", "aria-label": t("Choose: {camera}, {time}", { camera: cameraName(visit.camera), time: when(visit.seen) }),
      onclick: () => {
        wrong.has(visit.row) ? wrong.delete(visit.row) : wrong.add(visit.row);
        mark.setAttribute("aria-pressed", String(wrong.has(visit.row)));
        mark.style.opacity = wrong.has(visit.row) ? "0.3" : "1";
      },
    }, h("img", { src: at(`api/v1/unknowns/faces/${visit.row}.jpg`), alt: "", loading: "lazy" }));
    return h("figure", {}, mark, h("figcaption", {}, when(visit.seen)));
  });
  return h("article", { class: "card" },
    h("h2", {}, unknown.number === null ? t("Unknown") : t("Unknown {number}", { number: String(unknown.number) })),
    h("p", { class: "soft" }, [plural(unknown.visit_count, "{n} visit", "{n} visits"), t("first {time}", { time: when(unknown.first_seen) }), unknown.cameras.map(cameraName).join(", ")].join(", ")),
    h("div", { class: "strip" }, faces),
    mayChange ? h("form", {
      class: "row",
      onsubmit: async (event) => {
        event.preventDefault();
        const { name } = values(event.target);
        const done = await attempt(() => api("POST", `/unknowns/${unknown.id}/name`, { name: name.trim(), without: [...wrong] }));
        if (done) { notify(plural(done.added, "{n} picture of {name} enrolled.", "{n} pictures of {name} enrolled.", { name })); await load(); }
      },
    }, field(t("Name"), { name: "name", required: true, maxlength: 100 }), h("button", {}, t("Enroll")),
      h("button", {
        type: "button", class: "quiet",
        onclick: async () => { await attempt(() => api("DELETE", `/unknowns/${unknown.id}`), t("Deleted.")); await load(); },
      }, t("Delete")),
      h("button", { type: "button", class: "quiet", onclick: () => change("split", { rows: [...wrong] }, t("Separated.")) }, t("Separate chosen faces")),
      others.length ? h("label", {}, t("Same person as"), h("select", {
        onchange: (event) => change("merge", { into: Number(/** @type {HTMLSelectElement} */ (event.target).value) }, t("Merged.")),
      }, h("option", { value: "" }, t("choose")), others.map((each) => h("option", { value: each.id }, t("Unknown {number}", { number: String(each.number ?? each.id) }))))) : null,
      h("span", { class: "note" }, t("Click a face to choose it; chosen faces are not enrolled."))) : null);
}

/** @type {PersonOut[]} */
let people = [];
const wall = h("ul", { class: "faces", "aria-label": t("People") });
const status = h("div", { class: "empty", role: "status" }, t("Loading …"));
const unknownList = h("div", {});
const problems = h("div", { role: "status" });

/** @type {Record<string, (a: PersonOut, b: PersonOut) => number>} */
const ORDERS = {
  name: (a, b) => a.name.localeCompare(b.name),
  "last seen": (a, b) => (b.last_seen ?? 0) - (a.last_seen ?? 0),
  "most visits": (a, b) => b.visits - a.visits,
  "fewest pictures": (a, b) => a.pictures - b.pictures,
  "poorest picture": (a, b) => (a.quality ?? 0) - (b.quality ?? 0),
};
const search = h("input", { type: "search", maxlength: 100, autocomplete: "off", oninput: () => draw() });
const order = h("select", { onchange: () => draw() }, Object.keys(ORDERS).map((name) => h("option", { value: name }, t(name))));

/** @param {string} text */
const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
/** @param {PersonOut} person */
function portrait(person) {
  const seen = person.last_seen === null ? t("not seen yet") : t("seen {day} {time}", { day: day(person.last_seen), time: clock(person.last_seen) });
  const missing = person.missing.length === 3 ? t("poses unknown") : person.missing.length ? t("missing: {poses}", { poses: person.missing.map((pose) => t(pose)).join(", ") }) : t("all poses");
  return h("li", {}, h("button", { class: "face", "aria-label": person.name, onclick: () => personDialog(person) },
    h("img", { src: at(person.portrait === null ? "static/icon.svg" : `api/v1/people/pictures/${person.portrait}.jpg`), alt: "", loading: "lazy" }),
    h("span", { class: "text" }, h("b", {}, person.name),
      h("span", { class: "soft" }, `${seen} · ${plural(person.visits, "{n} visit", "{n} visits")}`), h("br"),
      h("span", { class: "soft" }, [plural(person.pictures, "{n} picture", "{n} pictures"), person.quality === null ? "" : t("quality {n}", { n: person.quality })].filter(Boolean).join(" · ")), h("br"),
      h("span", { class: person.missing.length ? "warn" : "soft" }, missing))));
}

function draw() {
  const wanted = plain(search.value.trim());
  const shown = people.filter((person) => plain(person.name).includes(wanted)).sort(ORDERS[order.value]);
  wall.replaceChildren(...shown.map(portrait));
  status.textContent = shown.length ? "" : people.length ? t("Nobody is called “{name}”.", { name: search.value.trim() }) : t("No people enrolled yet. Enroll a person from pictures, or from a visit.");
  status.hidden = shown.length > 0;
}

async function load() {
  try {
    people = await get("/people");
    draw();
  } catch (error) {
    status.replaceChildren(failed(error, load));
    status.hidden = false;
  }
  await fill(unknownList, () => get("/unknowns"), (/** @type {UnknownOut[]} */ unknowns) =>
    (unknowns.length ? unknowns.map(cluster) : h("p", { class: "empty" }, t("No unknown visitors."))));
}

function check() {
  problems.replaceChildren(h("p", { class: "note" }, t("Checking all pictures …")));
  return fill(problems, () => get("/gallery/faults"), (/** @type {FaultOut[]} */ faults) =>
    (faults.length ? faultList(faults) : h("p", { class: "good" }, t("No problems found."))));
}

const TOGETHER = 5; // pictures per request, so that the progress moves

/** A folder with a folder of pictures for each person. */
function importForm() {
  const out = h("div", { role: "status" });
  const bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": t("Import") });
  const files = h("input", { type: "file", webkitdirectory: true, required: true });
  const button = h("button", {}, t("Import"));
  return h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      /** @type {Map<string, File[]>} */
      const folders = new Map();
      for (const file of files.files ?? []) {
        const name = (file.webkitRelativePath.split("/").at(-2) ?? "").replaceAll("_", " ").trim(); // as 'gallery add' does
        if (/\.(jpe?g|png|webp)$/i.test(file.name)) folders.set(name, [...(folders.get(name) ?? []), file]);
      }
      const all = [...folders.values()].reduce((sum, each) => sum + each.length, 0);
      let [done, added] = [0, 0];
      out.replaceChildren();
      button.disabled = true;
      bar.hidden = false;
      for (const [name, pictures] of folders) {
        for (let start = 0; start < pictures.length; start += TOGETHER) {
          const part = pictures.slice(start, start + TOGETHER);
          const body = new FormData();
          for (const file of part) body.append("files", file);
          try {
            /** @type {EnrollmentResultOut} */
            const result = await api("POST", `${path(name)}/pictures`, body);
            added += result.added;
            out.append(...faultList(result.faults.filter((fault) => fault.source)));
          } catch (error) {
            out.append(h("p", { class: "bad" }, `${name}, ${part.map((file) => file.name).join(", ")}: ${reasonOf(error)}`));
          }
          done += part.length;
          bar.value = done / all;
        }
      }
      bar.hidden = true;
      button.disabled = false;
      out.prepend(h("p", { class: added ? "good" : "warn" }, all
        ? plural(folders.size, "{added} of {all} pictures of one person enrolled.", "{added} of {all} pictures of {n} people enrolled.", { added, all })
        : t("No pictures in this folder.")));
      await load();
    },
  }, h("div", { class: "row" }, h("label", {}, t("Folder with a folder of pictures per person"), files), button, bar), out);
}

show(
  h("div", { class: "card row" }, h("label", {}, t("Search"), search), h("label", {}, t("Order"), order),
    h("button", { class: "quiet", onclick: check }, t("Check pictures"))),
  problems,
  wall, status,
  mayChange ? h("section", { class: "card" }, h("h2", {}, t("Enroll a person")), uploadForm(null, load),
    h("p", {}, h("button", { class: "quiet", onclick: () => walkInDialog(load) }, t("Enroll at a camera")))) : null,
  mayChange ? h("section", { class: "card" }, h("h2", {}, t("Import people")), importForm()) : null,
  h("h2", {}, t("Unknown visitors")), unknownList);
await load();
watchHealth();
