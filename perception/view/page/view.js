"use strict";
// Shows what `events` tells. Whatever comes from the stream goes into the page as text, never as markup.

const MASK_COLOURS = ["#3cc83c", "#ff32e6", "#1e96ff", "#ffd700", "#3cffff", "#ff3c3c", "#8c5ac8", "#beDC96"];
const NOT_DRAWN = new Set(["background", "other", "unlabelled", "unlabeled", "void"]);
const MASK_OPACITY = 0.38;
const GOLDEN_ANGLE = 0.618033988749895; // of a turn: neighbouring ids get hues far apart

const OLD_AFTER_S = 3; // a picture comes ten times a second, or as often as the camera gives one

const tiles = new Map(); // by sensor
const main = document.getElementById("sensors");
const link = document.getElementById("link");
let linkState = "waiting";
let health = null;
let linkFacts = {};

const colourOf = (id) => (id ? `hsl(${(id * GOLDEN_ANGLE * 360) % 360} 100% 62.5%)` : "#d2d2d2");
const whole = (number) => number.toLocaleString("en-US");
const rate = (number) => number.toFixed(1);
const milliseconds = (number) => number.toFixed(number < 10 ? 1 : 0);
const sum = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);
const reasons = (counts) => Object.entries(counts).sort().map(([why, count]) => `${why} ${whole(count)}`).join(", ");

function element(kind, text, name) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

function showList(list, rows) {
  list.replaceChildren(
    ...rows.map(([name, value, tone]) => {
      const row = document.createElement("div");
      row.append(element("dt", name), element("dd", value, tone));
      return row;
    }),
  );
}

function duration(seconds) {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  if (parts[0]) return `${parts[0]} h ${parts[1]} min`;
  return parts[1] ? `${parts[1]} min ${parts[2]} s` : `${parts[2]} s`;
}

// --- the whole publisher --------------------------------------------------------------------------------

function showLink(told) {
  linkState = told.state;
  link.dataset.state = told.state;
  link.textContent = told.words;
  if (told.endpoint) document.getElementById("endpoint").textContent = told.endpoint;
  if (told.restarts !== undefined) linkFacts = told;
  document.title = told.state === "live" ? "edge-perception" : `${told.state} - edge-perception`;
  showFacts();
  tiles.forEach(showNote);
}

function showFacts() {
  const rows = [];
  if (health) {
    rows.push(["networks", health.networks.map((n) => `${n.name} on ${n.engine}`).join(", ") || "none"]);
    rows.push(["up", duration(health.uptime_ns / 1e9)], ["readers", whole(health.readers)]);
  }
  if (linkFacts.restarts) rows.push(["publisher restarts", whole(linkFacts.restarts)]);
  if (linkFacts.lost) rows.push(["messages lost here", whole(linkFacts.lost)]);
  if (health && health.failure) rows.push(["failure", health.failure]);
  if (health && health.left_out) rows.push(["sensors not shown", whole(health.left_out)]);
  showList(document.getElementById("facts"), rows);
}

function showHealth(told) {
  health = told;
  const named = new Set(told.sensors.map((sensor) => sensor.sensor));
  for (const [sensor, tile] of tiles) {
    if (!named.has(sensor)) {
      tile.article.remove();
      tiles.delete(sensor);
    }
  }
  for (const sensor of told.sensors) {
    const tile = tiles.get(sensor.sensor) || newTile(sensor.sensor);
    tile.health = sensor;
    showSensor(tile);
  }
  const ordered = told.sensors.map((sensor) => tiles.get(sensor.sensor).article);
  if (ordered.some((article, place) => main.children[place] !== article)) main.append(...ordered);
  main.dataset.count = tiles.size;
  showFacts();
}

// --- one sensor -----------------------------------------------------------------------------------------

function newTile(sensor) {
  const article = document.getElementById("sensor").content.cloneNode(true).firstElementChild;
  const part = (selector) => article.querySelector(selector);
  const tile = {
    article,
    state: part(".state"),
    when: part(".when"),
    stage: part(".stage"),
    canvas: part("canvas"),
    note: part(".note"),
    found: part(".found"),
    figures: part(".figures"),
    reasons: part(".reasons"),
    health: null,
    frame: null, // the event that is drawn
    picture: null,
    shownAt: 0, // ms of this page's time
    newest: null, // the event whose picture is being decoded
  };
  part("h2").textContent = sensor;
  article.dataset.sensor = sensor;
  tiles.set(sensor, tile);
  main.append(article);
  main.dataset.count = tiles.size;
  new ResizeObserver(() => draw(tile)).observe(tile.canvas);
  return tile;
}

function showSensor(tile) {
  const told = tile.health;
  const dropped = sum(told.dropped);
  const failed = sum(told.failed);
  const latency = told.latency_p50_ms ? `${milliseconds(told.latency_p50_ms)}/${milliseconds(told.latency_p99_ms)} ms` : "–";
  showList(tile.figures, [
    ["captured/s", rate(told.captured_hz)],
    ["published/s", rate(told.published_hz)],
    ["latency p50/p99", latency],
    ["dropped", whole(dropped), dropped ? "warn" : ""],
    ["failed", whole(failed), failed ? "bad" : ""],
    ["lost here", whole(told.lost), told.lost ? "bad" : ""],
  ]);
  const account = [`${whole(told.published)} of ${whole(told.captured)} published`];
  if (dropped) account.push(`dropped: ${reasons(told.dropped)}`);
  if (failed) account.push(`failed: ${reasons(told.failed)}`);
  if (told.in_flight) account.push(`${whole(told.in_flight)} in flight`);
  tile.reasons.textContent = account.join(" · ");
  showNote(tile);
}

// How the sensor fares, and over the picture why it is not what the camera sees now.
function showNote(tile) {
  const told = tile.health;
  const isKnown = linkState === "live" || linkState === "ended";
  const silent_s = (performance.now() - tile.shownAt) / 1000;
  let words = "";
  if (told) {
    tile.state.dataset.state = isKnown ? told.state : "";
    tile.state.textContent = (isKnown ? "" : "was ") + told.state.toLowerCase();
  }
  const isOut = told && isKnown && told.state === "STALLED";
  if (told && told.state === "BROKEN") words = told.state_reason;
  else if (told && told.state === "ENDED") words = "ended";
  else if (isOut && told.state_reason) words = told.state_reason;
  else if (!tile.frame) words = "no picture yet";
  else if (!isKnown) words = "the last picture";
  else if (isOut) words = "nothing comes from this sensor";
  else if (silent_s > OLD_AFTER_S) words = `no picture for ${duration(silent_s)}`;
  tile.note.textContent = words;
  tile.stage.classList.toggle("old", words !== "");
}

async function showFrame(told) {
  const tile = tiles.get(told.sensor) || newTile(told.sensor);
  tile.newest = told;
  let picture;
  try {
    const bytes = Uint8Array.from(atob(told.jpeg), (character) => character.charCodeAt(0));
    picture = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
  } catch {
    return; // no JPEG: the next one may be
  }
  if (tile.newest !== told) return picture.close();
  if (tile.picture) tile.picture.close();
  tile.frame = told;
  tile.picture = picture;
  tile.shownAt = performance.now();
  tile.when.textContent = `${told.stamp_s.toFixed(2)} s · frame ${whole(told.frame)}`;
  showFound(tile);
  draw(tile);
  showNote(tile);
}

function showFound(tile) {
  const found = tile.frame.found;
  const rows = [];
  if (!found) rows.push(element("li", "what was found on this frame was lost", "failed"));
  else if (found.status !== "OK") rows.push(element("li", `${found.status}: ${found.reason}`, "failed"));
  else {
    const counts = new Map();
    for (const box of found.boxes) counts.set(box.class, (counts.get(box.class) || 0) + 1);
    for (const [name, count] of [...counts].sort((a, b) => b[1] - a[1])) rows.push(element("li", `${whole(count)} ${name}`));
    if (found.count > found.boxes.length) rows.push(element("li", `of ${whole(found.count)} boxes`));
    for (const { name, colour } of legend(found.masks)) {
      const row = element("li", name);
      row.style.setProperty("--swatch", colour);
      rows.push(row);
    }
    if (!rows.length) rows.push(element("li", "nothing found"));
  }
  tile.found.replaceChildren(...rows);
}

// --- drawing: the picture, then masks, then boxes, all of one frame ----------------------------------------

function draw(tile) {
  const { canvas, picture, frame } = tile;
  if (!picture) return;
  canvas.style.aspectRatio = `${picture.width} / ${picture.height}`;
  const width = Math.round(canvas.clientWidth * devicePixelRatio);
  const height = Math.round((width * picture.height) / picture.width);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, width, height);
  if (frame.found) {
    for (const mask of frame.found.masks) context.drawImage(painted(mask, frame.found.masks), 0, 0, width, height);
    // Last and on top, so that it can be read, is what has an id; then the better.
    const order = [...frame.found.boxes].reverse().sort((a, b) => (a.track_id > 0) - (b.track_id > 0));
    for (const box of order) drawBox(context, box, width / frame.found.width, height / frame.found.height);
  }
  const count = frame.found ? frame.found.count : 0;
  canvas.setAttribute("aria-label", `${frame.sensor}, frame ${frame.frame}, ${count} boxes`);
  canvas.dataset.frame = frame.frame;
}

function drawBox(context, box, scaleX, scaleY) {
  if (box.box.includes(null)) return; // no number
  const [left, top, right, bottom] = box.box.map((edge, index) => edge * (index % 2 ? scaleY : scaleX));
  const pixel = devicePixelRatio;
  const size = Math.max(11 * pixel, Math.min(15 * pixel, context.canvas.width / 50));
  context.strokeStyle = colourOf(box.track_id);
  context.lineWidth = Math.max(1.5 * pixel, context.canvas.width / 420);
  context.strokeRect(left, top, right - left, bottom - top);
  const score = box.score === null ? "" : ` ${box.score.toFixed(2)}`;
  const text = (box.track_id ? `#${box.track_id} ` : "") + box.class.slice(0, 40) + score;
  context.font = `600 ${size}px system-ui, sans-serif`;
  const plate = { width: context.measureText(text).width + size * 0.6, height: size * 1.35 };
  const x = Math.max(0, Math.min(left - context.lineWidth / 2, context.canvas.width - plate.width));
  const y = Math.max(0, top - plate.height);
  context.fillStyle = context.strokeStyle;
  context.fillRect(x, y, plate.width, plate.height);
  context.fillStyle = "#0a0d12";
  context.textBaseline = "middle";
  context.fillText(text, x + size * 0.3, y + plate.height * 0.54);
}

// Every class takes a colour, seen or not: the next free one of a frame would flicker.
function coloured(masks) {
  let next = 0;
  return masks.map((mask) =>
    mask.class_names.map((name, index) => {
      const drawn = mask.class_names.length === 2 ? index === 1 : !NOT_DRAWN.has(name.toLowerCase());
      return drawn ? MASK_COLOURS[next++ % MASK_COLOURS.length] : null;
    }),
  );
}

function legend(masks) {
  const colours = coloured(masks);
  return masks.flatMap((mask, which) => {
    const seen = new Set(mask.run_classes);
    return mask.class_names.map((name, index) => ({ name, colour: colours[which][index], seen: seen.has(index) }));
  }).filter((entry) => entry.colour && entry.seen);
}

function painted(mask, masks) {
  const colours = coloured(masks)[masks.indexOf(mask)].map((colour) => {
    if (!colour) return 0;
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    return ((Math.round(255 * MASK_OPACITY) << 24) | (blue << 16) | (green << 8) | red) >>> 0; // little-endian RGBA
  });
  const image = new ImageData(mask.width, mask.height);
  const pixels = new Uint32Array(image.data.buffer);
  let at = 0;
  mask.run_lengths.forEach((length, run) => pixels.fill(colours[mask.run_classes[run]], at, (at += length)));
  const canvas = new OffscreenCanvas(mask.width, mask.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// --- events ---------------------------------------------------------------------------------------------

function listen() {
  const events = new EventSource("events");
  const on = (kind, show) => events.addEventListener(kind, (event) => show(JSON.parse(event.data)));
  on("link", showLink);
  on("health", showHealth);
  on("frame", showFrame);
  events.onerror = () => {
    if (linkState !== "refused") {
      showLink({ state: "gone", words: "the viewer has stopped; start `perception view` again and this page goes on" });
    }
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 2000); // it was answered, but not with events
  };
}

listen();
