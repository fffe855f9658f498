"use strict";
const at = (id) => document.getElementById(id);
const KEPT = 200;
let model = { names: {}, gradcam: false };
let chosen = null;
let server = null;

function percent(value) {
  return (100 * value).toFixed(1) + "\u00a0%";
}

function element(kind, className, text) {
  const one = document.createElement(kind);
  if (className) one.className = className;
  if (text !== undefined) one.textContent = text;
  return one;
}

function nameOf(label) {
  return (model.names[label] || label).replace(/^Al /, "Al\u00a0");
}

function bestOf(answer) {
  const all = Object.entries(answer.probabilities);
  return all.reduce((best, one) => (one[1] > best[1] ? one : best));
}

function isUnlike(answer) {
  return typeof answer.unlike === "number" && answer.unlike >= 1;
}

// The list.

let entries = [];

function entry(name) {
  const item = element("li");
  const button = element("button");
  button.type = "button";
  item.append(button);
  at("list").prepend(item);
  while (at("list").children.length > KEPT) at("list").lastChild.remove();
  const one = { name, button, answer: null, load: null };
  entries = [...entries, one].slice(-KEPT);
  button.addEventListener("click", () => {
    choose(one);
    if (innerWidth < 832) at("detail").scrollIntoView({ block: "start" });
  });
  show(one);
  return one;
}

function show(one) {
  const parts = [element("span", "file", one.name)];
  const answer = one.answer;
  if (!answer) {
    parts.push(element("span", "quiet", "waiting …"));
  } else if (answer.error) {
    parts.push(element("span", "bad", answer.error));
  } else {
    const [label, probability] = bestOf(answer);
    const known = answer.predicted !== null;
    const flagged = !known || isUnlike(answer);
    const text = known ? nameOf(label) : "No class: " + answer.abstained;
    parts.push(element("span", flagged ? "class warn" : "class", text));
    parts.push(element("span", "probability", percent(probability)));
  }
  one.button.replaceChildren(...parts);
}

async function choose(one) {
  if (chosen) chosen.button.removeAttribute("aria-current");
  chosen = one;
  one.button.setAttribute("aria-current", "true");
  if (one.load && one.answer && !one.answer.error && !one.answer.pictures) {
    detail(one);
    const full = await one.load();
    if (!full.error) one.answer = full;
  }
  if (chosen === one) detail(one);
}

// The result.

function detail(one) {
  const answer = one.answer;
  if (!answer) return;
  at("empty").hidden = true;
  at("result").hidden = false;
  at("name").textContent = one.name;
  const verdict = at("verdict");
  for (const id of ["notes", "bars", "estimates", "pictures"]) at(id).replaceChildren();
  at("unlike").hidden = true;
  if (answer.error) {
    verdict.className = "verdict bad";
    verdict.textContent = "Not classified";
    at("reason").textContent = answer.error;
    return;
  }
  const [label, probability] = bestOf(answer);
  const known = answer.predicted !== null;
  verdict.className = known ? "verdict" : "verdict none";
  verdict.textContent = known ? nameOf(label) : "No class";
  at("reason").textContent = known
    ? "Probability " + percent(probability)
    : (answer.abstained === "unlike" ? "" : "Too uncertain for the chosen error rate. ") +
      "Most probable: " + nameOf(label) + ", " + percent(probability) + ".";
  if (isUnlike(answer)) {
    at("unlike").hidden = false;
    at("unlike").textContent = "Unlike the training images: distance " +
      answer.unlike.toFixed(2) + ", where 1 is the limit. The class may be wrong.";
  }
  at("notes").replaceChildren(...(answer.notes || []).map((note) => element("li", "", note)));
  bars(answer.probabilities, label);
  for (const [name, value] of Object.entries(answer.estimates || {})) {
    at("estimates").append(element("dt", "", name), element("dd", "", value.toPrecision(4)));
  }
  pictures(answer.pictures, one.name);
}

function bars(probabilities, best) {
  const sorted = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
  for (const [label, value] of sorted) {
    const row = element("div", label === best ? "bar best" : "bar");
    const bar = element("progress");
    bar.max = 1;
    bar.value = value;
    bar.setAttribute("aria-label", nameOf(label));
    row.append(
      element("span", "label", nameOf(label)), bar, element("span", "value", percent(value)));
    at("bars").append(row);
  }
}

function pictures(found, name) {
  if (!found) return;
  const captions = {
    raw: "Raw, " + found.size.join(" × ") + " pixels",
    equalised: "Equalised",
    gradcam: "Regions that drove the class (Grad-CAM)",
  };
  for (const [kind, caption] of Object.entries(captions)) {
    if (!found[kind]) continue;
    const figure = element("figure");
    const image = element("img");
    image.src = found[kind];
    image.alt = caption + " of " + name;
    figure.append(image, element("figcaption", "", caption));
    at("pictures").append(figure);
  }
}

// Requests.

// Each server that was started has a name of its own.
function recognise(name) {
  if (!name || name === server) return;
  const restarted = server !== null;
  server = name;
  if (restarted) {
    forget();
    describe();
  }
}

async function asked(url, options) {
  try {
    const response = await fetch(url, options);
    recognise(response.headers.get("Alloyk-Server"));
    const answer = await response.json();
    if (response.ok) return answer;
    const text = answer.error || "The request was refused (" + response.status + ")";
    return { error: text, again: response.status === 503 };
  } catch {
    return { error: "The server does not answer; is it still running?" };
  }
}

async function classify(file, one) {
  const limit = model.limits ? model.limits.body_bytes : Infinity;
  if (file.size > limit) {
    one.answer = { error: "The file must have at most " + Math.floor(limit / 2 ** 20) + " MiB" };
  } else {
    const url = "/predict?pictures=true&name=" + encodeURIComponent(file.name);
    const options = {
      method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } };
    for (let tries = 0; tries < 5; tries++) {
      one.answer = await asked(url, options);
      if (!one.answer.again) break;
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
  show(one);
}

let queue = Promise.resolve();

function take(files) {
  let first = true;
  for (const file of files) {
    const one = entry(file.name);
    const select = first;
    first = false;
    queue = queue.then(() => classify(file, one)).then(() => {
      if (select || chosen === one) return choose(one);
    });
  }
}

// The watched folder.

let latest = 0;

// Remove the results of a server that has ended, which may have had another model.
function forget() {
  for (const one of entries) if (one.answer) one.button.parentNode.remove();
  entries = entries.filter((one) => !one.answer);
  chosen = null;
  at("result").hidden = true;
  at("empty").hidden = false;
  latest = 0;
  at("watch-note").textContent = "Waiting for radiographs …";
}

async function look() {
  const before = server;
  const found = await asked("/watched?after=" + latest);
  if (Array.isArray(found) && server === before) {
    for (const answer of found) {
      latest = answer.number;
      const one = entry(answer.path);
      one.answer = answer;
      one.load = () => asked("/watched/" + answer.number);
      show(one);
      if (answer === found[found.length - 1] && (!chosen || chosen.load)) choose(one);
    }
    if (latest) {
      at("watch-note").textContent = latest + (latest === 1 ? " image" : " images") + " so far";
    }
  }
  setTimeout(look, 1000);
}

function listen() {
  const drop = at("drop");
  at("files").addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = "";
  });
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.remove("over");
    });
  }
  document.addEventListener("drop", (event) => take([...event.dataTransfer.files]));
}

async function describe() {
  const found = await asked("/model");
  if (found.error) {
    at("model").textContent = found.error;
    return false;
  }
  model = found;
  const names = found.classes.map(nameOf).join(", ");
  at("model").textContent = found.model + ": " + names;
  at("simulated").hidden = !found.simulated;
  const { width, height } = found.input;
  at("size").textContent = width ? width + " × " + height + " pixels" : "any size";
  at("watch").hidden = found.watching === null;
  at("folder").textContent = found.watching || "";
  return true;
}

async function start() {
  listen();
  if (await describe() && model.watching !== null) look();
}

start();
