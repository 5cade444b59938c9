// @ts-check
// Cameras: add, change, pause, remove.

import { api, ask, at, attempt, cameraName, decimal, dialog, field, fill, get, h, learnCameraNames, mayChange, penOf, show, subscribe, t, table, values, watchHealth, words } from "./app.js";

/** @import { CameraOut, CamerasOut, FoundCameraOut, ProbeOut } from "../api.d.ts" */
/** @typedef {[x: number, y: number]} Point */
/** @typedef {"mask" | "zones"} Area */
/** @typedef {Area | "detect_region"} Kind */

/** @type {Area[]} */
const AREAS = ["mask", "zones"];

/** @param {string} name */
const path = (name) => `/cameras/${encodeURIComponent(name)}`;
let version = "";
/** @type {CameraOut[]} */
let known = [];

/**
 * Values of a form for the API; empty ones are reset to their defaults.
 * @param {HTMLFormElement} form
 * @param {boolean} all
 */
function settings(form, all) {
  const given = values(form);
  /** @type {Record<string, string | number | null>} */
  const out = {};
  for (const [key, kind] of Object.entries({ display_name: "text", serial: "text", source: "text", user: "text", password: "text", main_stream: "text", transport: "text", display_aspect_ratio: "text", max_fps: "number", rotate: "number" })) {
    if (!(key in given)) continue;
    if (given[key] !== "") out[key] = kind === "number" ? Number(given[key]) : given[key];
    else if (all && key !== "password" && key !== "source") out[key] = null;
  }
  return out;
}

/** Names of cameras added on this page, which the list may not have yet. @type {Set<string>} */
const added = new Set();

/**
 * The name of a new camera in records and files, from its name for people: "Tür Süd" becomes Tur-Sud.
 * @param {string} label
 */
function newName(label) {
  const plain = label.normalize("NFKD").replace(/\p{M}/gu, "").replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 56) || "camera";
  const taken = new Set([...known.map((camera) => camera.name.toLowerCase()), ...added]);
  // Two cameras of one label are a mistake, which the console refuses; two labels that differ only here are not.
  if (plain === label) return plain;
  for (let number = 1; ; number++) {
    const name = number === 1 ? plain : `${plain}-${number}`;
    if (!taken.has(name.toLowerCase())) return name;
  }
}

/**
 * @param {() => HTMLFormElement} form
 * @returns {[button: HTMLButtonElement, out: HTMLElement]}
 */
function probeButton(form) {
  const out = h("div", { role: "status" });
  const button = h("button", {
    type: "button", class: "quiet",
    onclick: async () => {
      const { source, main_stream, user, password, transport } = values(form());
      button.disabled = true;
      out.replaceChildren(h("p", { class: "note" }, t("Measuring for three seconds …")));
      /** @param {string} address */
      const probe = (address) => attempt(() => api("POST", "/cameras/probe", { source: address, transport, ...(user ? { user, password } : {}) }));
      /** @type {(ProbeOut | undefined)[]} */
      const found = await Promise.all([source, main_stream].filter(Boolean).map(probe));
      button.disabled = false;
      out.replaceChildren(h("div", { class: "row" }, found.map((each, i) => (each ? probed(each, i ? t("High-resolution stream") : t("Stream")) : null))));
    },
  }, t("Test"));
  return [button, out];
}

/**
 * @param {ProbeOut} found
 * @param {string} what
 */
const probed = (found, what) => h("figure", { class: "probe" },
  found.picture ? h("img", { src: jpegUrl(found.picture), alt: what }) : null,
  h("figcaption", {}, h("span", { class: "good" }, t("{size}, {fps} fps, {codec}, first frame after {s} s.", { size: `${found.width}x${found.height}`, fps: found.fps_measured, codec: found.codec ?? t("pictures"), s: found.first_frame_s })),
    found.advice ? h("p", { class: "warn" }, t("The picture is probably anamorphic: set the aspect ratio to {ratio}.", { ratio: found.advice })) : null));

/** @param {string} base64 */
const jpegUrl = (base64) => URL.createObjectURL(new Blob([Uint8Array.from(atob(base64), (each) => each.charCodeAt(0))], { type: "image/jpeg" }));

/** Cameras of the network, asked for on a click only; one that is chosen fills the form. */
function discovery(/** @type {() => HTMLFormElement} */ form) {
  const out = h("div", { role: "status" });
  const button = h("button", {
    type: "button", class: "quiet",
    onclick: async () => {
      const { user, password } = values(form());
      button.disabled = true;
      out.replaceChildren(h("p", { class: "note" }, t("Asking the network for five seconds …")));
      const hosts = hostsInput.value.split(/[\s,]+/).filter(Boolean);
      /** @type {FoundCameraOut[] | undefined} */
      const found = await attempt(() => api("POST", "/cameras/discover", { hosts, ...(user ? { user, password } : {}) }));
      button.disabled = false;
      out.replaceChildren(...(!found ? [] : found.length
        ? [table(["address", "camera", "streams", ""], found.map((each) => foundRow(each, form())))]
        : [h("p", { class: "warn" }, t("No camera answered. Cameras of other networks have to be named: HOST or NETWORK/BITS."))]));
    },
  }, t("Find cameras"));
  const hostsInput = h("input", { placeholder: "10.0.7.0/24", autocomplete: "off" });
  return h("details", {}, h("summary", {}, t("Find cameras in the network")),
    h("div", { class: "row" }, h("label", {}, t("Also ask these hosts"), hostsInput), button),
    h("p", { class: "note" }, t("User and password of the form are used for all of them.")), out);
}

/**
 * @param {FoundCameraOut} found
 * @param {HTMLFormElement} form
 */
function foundRow(found, form) {
  const [source, main] = [found.sub?.url ?? found.main?.url, found.sub?.url ? found.main?.url : null];
  const use = () => {
    for (const [name, value] of Object.entries({ source, main_stream: main, serial: found.serial, name: found.model || found.vendor })) {
      const input = form.elements.namedItem(name);
      if (input instanceof HTMLInputElement) input.value = value ?? "";
    }
    form.querySelector("input")?.focus();
  };
  const streams = [found.main, found.sub].flatMap((each) => (each?.width ? [`${each.encoding} ${each.width}x${each.height}`] : []));
  return h("tr", {}, h("td", {}, found.address), h("td", {}, `${found.vendor} ${found.model}`.trim() || "–"),
    h("td", {}, streams.join(", "), found.problem ? h("div", { class: "warn note" }, found.problem) : null),
    h("td", {}, source ? h("button", { type: "button", class: "quiet", "aria-label": t("Use {address}", { address: found.address }), onclick: use }, t("Use")) : null));
}

function addForm() {
  const [button, out] = probeButton(() => form);
  /** @type {HTMLFormElement} */
  const form = h("form", {
    class: "card", "aria-label": t("Add a camera"),
    onsubmit: async (event) => {
      event.preventDefault();
      const display_name = values(form).name.trim();
      const name = newName(display_name);
      const body = { name, ...settings(form, false), ...(display_name === name ? {} : { display_name }) };
      if (await attempt(() => api("POST", "/cameras", body), t("{name} added.", { name: display_name }))) {
        added.add(name.toLowerCase());
        form.reset();
        await load();
      }
    },
  },
    h("h2", {}, t("Add a camera")),
    h("div", { class: "row" },
      field(t("Name"), { name: "name", required: true, maxlength: 100, placeholder: t("Front door"), pattern: ".*\\S.*" }),
      field(t("Address"), { name: "source", required: true, placeholder: "rtsp://10.0.0.5/stream", size: 34 }),
      field(t("High-resolution stream"), { name: "main_stream", placeholder: t("optional"), size: 28, title: t("Faces are found in the first stream and cut from this one.") }),
      h("input", { name: "serial", type: "hidden" }),
      field(t("User"), { name: "user", autocomplete: "off" }),
      field(t("Password"), { name: "password", type: "password", autocomplete: "new-password" })),
    h("div", { class: "row" },
      field(t("Max. processed fps"), { name: "max_fps", type: "number", min: 0.1, step: 0.1, value: 5 }),
      field(t("Transport"), { name: "transport", options: [["tcp", "TCP"], ["udp", "UDP"]] }),
      field(t("Aspect ratio"), { name: "display_aspect_ratio", placeholder: t("automatic"), size: 10 }),
      field(t("Rotation"), { name: "rotate", options: [[0, t("none")], [90, t("90° left")], [180, "180°"], [270, t("90° right")]] }),
      h("button", {}, t("Add")), button), out, discovery(() => form));
  form.addEventListener("reset", () => out.replaceChildren());
  return form;
}

/**
 * Editor of masks, zones and the detection region: drawn on the picture, or as fractions of width and height.
 * @param {CameraOut} camera
 */
function drawing(camera) {
  const canvas = h("canvas", { width: 640, height: 360, tabindex: 0, role: "img", "aria-label": t("Picture of the camera with masks and zones; coordinates can be entered below") });
  /** @type {[Kind, string][]} */
  const kinds = [["mask", "#000"], ["zones", "#35d08f"], ["detect_region", "#4f83cc"]];
  const kind = h("select", { "aria-label": t("Kind of area") },
    h("option", { value: "mask" }, t("mask (blacked out)")),
    h("option", { value: "zones" }, t("zone (only its faces count)")),
    h("option", { value: "detect_region" }, t("detection region")));
  /** @type {{ mask: Point[][], zones: Point[][], detect_region: number[] | null }} */
  const state = { mask: camera.settings.mask ?? [], zones: camera.settings.zones ?? [], detect_region: camera.settings.detect_region ?? null };
  /** @type {Point[]} */
  let open = [];
  const image = new Image();
  /** @param {Point[][]} polygons */
  const text = (polygons) => polygons.map((polygon) => polygon.map((point) => point.map((v) => v.toFixed(3)).join(",")).join(" ")).join("\n");
  function paint() {
    const pen = penOf(canvas);
    if (image.naturalWidth) {
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      pen.drawImage(image, 0, 0);
    }
    const { width, height } = canvas;
    /**
     * @param {Point[]} points
     * @param {boolean} close
     */
    const trace = (points, close) => {
      pen.beginPath();
      points.forEach(([x, y], i) => (i ? pen.lineTo(x * width, y * height) : pen.moveTo(x * width, y * height)));
      if (close) pen.closePath();
    };
    pen.lineWidth = Math.max(2, width / 250);
    for (const [name, color] of kinds) {
      const polygons = name === "detect_region" ? (state.detect_region ? [corners(state.detect_region)] : []) : state[name];
      for (const polygon of polygons) {
        trace(polygon, true);
        pen.fillStyle = name === "mask" ? "rgb(0 0 0 / 75%)" : `${color}33`;
        pen.strokeStyle = name === "mask" ? "#d04437" : color;
        pen.fill();
        pen.stroke();
      }
    }
    if (open.length) {
      trace(open, false);
      pen.strokeStyle = "#ffc44d";
      pen.stroke();
      open.forEach(([x, y]) => pen.fillRect(x * width - 3, y * height - 3, 6, 6));
    }
    for (const name of AREAS) if (document.activeElement !== texts[name]) texts[name].value = text(state[name]);
    if (document.activeElement !== texts.detect_region) texts.detect_region.value = state.detect_region ? state.detect_region.map((v) => v.toFixed(3)).join(",") : "";
  }
  /**
   * @param {number[]} box
   * @returns {Point[]}
   */
  const corners = ([l, t, r, b]) => [[l, t], [r, t], [r, b], [l, b]];
  canvas.addEventListener("pointerdown", (event) => {
    const box = canvas.getBoundingClientRect();
    /** @param {number} v */
    const clip = (v) => Math.min(1, Math.max(0, Number(v.toFixed(4))));
    open.push([clip((event.clientX - box.left) / box.width), clip((event.clientY - box.top) / box.height)]);
    if (kind.value === "detect_region" && open.length === 2) finish();
    paint();
  });
  function finish() {
    if (kind.value === "detect_region" && open.length === 2) {
      const [[x1, y1], [x2, y2]] = open;
      state.detect_region = [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
    } else if (open.length >= 3) {
      const area = /** @type {Area} */ (kind.value);
      state[area] = [...state[area], open];
    }
    open = [];
    paint();
  }
  const read = () => {
    for (const name of AREAS) {
      state[name] = texts[name].value.trim().split("\n").filter((line) => line.trim())
        .map((line) => line.trim().split(/\s+/).map((point) => /** @type {Point} */ (point.split(",").map(Number))));
    }
    state.detect_region = texts.detect_region.value.trim() ? texts.detect_region.value.split(",").map(Number) : null;
    paint();
  };
  const write = () => h("textarea", { rows: 2, spellcheck: "false", onchange: read });
  const texts = { mask: write(), zones: write(), detect_region: write() };
  image.onload = paint;
  image.src = at(`api/v1${path(camera.name)}/snapshot.jpg?side=960`);
  paint();
  return {
    part: h("div", {},
      h("div", { class: "draw" }, canvas),
      h("div", { class: "row" }, h("label", {}, t("Draw"), kind),
        h("button", { type: "button", class: "quiet", onclick: finish }, t("Close polygon")),
        h("button", { type: "button", class: "quiet", onclick: () => { open = []; if (kind.value === "detect_region") state.detect_region = null; else state[/** @type {Area} */ (kind.value)] = []; paint(); } }, t("Clear"))),
      h("p", { class: "note" }, t("Click the corners, then close the polygon; a detection region takes two corners. Or enter corners as fractions: x,y x,y x,y, one polygon per line.")),
      h("div", { class: "row" }, h("label", {}, t("Masks"), texts.mask), h("label", {}, t("Zones"), texts.zones), h("label", {}, t("Detection region: left,top,right,bottom"), texts.detect_region))),
    read: () => ({
      mask: state.mask.length ? state.mask : null,
      zones: state.zones.length ? state.zones : null,
      detect_region: state.detect_region,
    }),
  };
}

/** @param {CameraOut} camera */
function changeDialog(camera) {
  dialog(camera.display_name, (close) => {
    const drawn = drawing(camera);
    const [button, out] = probeButton(() => form);
    const form = h("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        /** @type {Record<string, unknown>} */
        const change = { ...settings(form, true), ...drawn.read() };
        if (change.source === camera.source) delete change.source; // shown without credentials
        if (change.main_stream === camera.main_stream) delete change.main_stream; // likewise
        if (change.display_name === camera.name) change.display_name = null;
        const done = await attempt(() => api("PATCH", path(camera.name), change, { "if-match": version }), t("Saved."));
        if (done) { close(); await load(); }
      },
    },
      h("div", { class: "row" },
        field(t("Name"), { name: "display_name", maxlength: 100, value: camera.display_name, placeholder: camera.name }),
        field(t("Address"), { name: "source", required: true, value: camera.source, size: 34 }),
        field(t("High-resolution stream"), { name: "main_stream", value: camera.main_stream ?? "", placeholder: t("optional"), size: 28 }),
        field(t("User"), { name: "user", value: camera.user ?? "", autocomplete: "off" }),
        field(t("Password"), { name: "password", type: "password", autocomplete: "new-password", placeholder: camera.has_password ? t("unchanged") : "" })),
      h("div", { class: "row" },
        field(t("Max. processed fps"), { name: "max_fps", type: "number", min: 0.1, step: 0.1, value: camera.settings.max_fps ?? "" }),
        field(t("Transport"), { name: "transport", value: camera.settings.transport ?? "tcp", options: [["tcp", "TCP"], ["udp", "UDP"]] }),
        field(t("Aspect ratio"), { name: "display_aspect_ratio", value: camera.settings.display_aspect_ratio ?? "", placeholder: t("automatic"), size: 10 }),
        field(t("Rotation"), { name: "rotate", value: String(camera.settings.rotate ?? 0), options: [["0", t("none")], ["90", t("90° left")], ["180", "180°"], ["270", t("90° right")]] }),
        button), out,
      h("h3", {}, t("Masks, zones and detection region")), drawn.part,
      h("div", { class: "row" }, h("button", {}, t("Save")),
        h("button", {
          type: "button", class: "danger",
          onclick: () => ask(t("Remove {name}", { name: camera.display_name }), t("The camera is removed. Its visits and recordings are kept until they expire."), t("Remove"), async () => {
            close();
            await attempt(() => api("DELETE", path(camera.name)), t("Removed."));
            await load();
          }),
        }, t("Remove"))));
    return form;
  });
}

/** @param {CameraOut} camera */
function row(camera) {
  return h("tr", { "data-camera": camera.name },
    h("td", {}, h("b", {}, camera.display_name), camera.display_name === camera.name ? null : h("div", { class: "note" }, camera.name)),
    h("td", {}, h("span", { class: `state ${camera.state}` }, words(camera.state)), camera.problem ? h("div", { class: "bad note" }, camera.problem) : null),
    h("td", { class: "long" }, camera.source),
    h("td", {}, decimal(camera.processed_fps, 1)),
    h("td", {}, camera.observed),
    h("td", {}, camera.outcomes.forwarded ?? 0),
    h("td", {}, mayChange ? h("div", { class: "row" },
      h("button", { class: "quiet", onclick: () => changeDialog(camera) }, t("Change {name}", { name: camera.display_name })),
      h("button", {
        class: "quiet",
        onclick: async () => {
          await attempt(() => api("PATCH", path(camera.name), { enabled: camera.enabled ? false : null }));
          await load();
        },
      }, camera.enabled ? t("Pause") : t("Resume"))) : null));
}

const list = h("div", {});
const load = () => fill(list, () => get("/cameras"), (/** @type {CamerasOut} */ found) => {
  version = found.config;
  known = found.cameras;
  learnCameraNames(found.cameras);
  return found.cameras.length
    ? h("section", { class: "card" }, table(["camera", "state", "address", "fps", "faces", "sent", ""], found.cameras.map(row), ["fps", "faces", "sent"]))
    : h("p", { class: "empty" }, t("No cameras yet."), " ", mayChange ? t("Add one: its address is in its manual or on its web page.") : "");
});

show(list, mayChange ? addForm() : null);
await load();
watchHealth();
subscribe("cameras", load, load);
