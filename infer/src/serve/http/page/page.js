// The page of `infer serve`: sends photos to `POST /v1/classify` and shows what comes back.

import { draw, mean, preview } from "./photo.js";
import { Refused, ask, reason, useKey, words } from "./server.js";

const AT_ONCE = 3; // requests in flight; the server queues and refuses for itself
const PATIENCE = 5; // attempts while the server is busy

const $ = (id) => document.getElementById(id);
const jobs = []; // waiting cards
let running = 0;
let counter = 0;
let models = [];
let keyed = false; // a key was given

// --- the server

async function connect() {
  try {
    const { body } = await ask("/v1/models");
    models = body.models;
    $("key").hidden = true;
    showModels();
    if (models.every((model) => model.ready)) return state("ready", "ready");
    state("wait", "loading");
    setTimeout(connect, 1000);
  } catch (error) {
    if (error.status === 401) return askForKey();
    state("wrong", error.status === 503 ? "not ready" : "unreachable");
    notice(error.message);
  }
}

function state(kind, text) {
  $("state").dataset.state = kind;
  $("state-text").textContent = text;
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

function askForKey() {
  $("key-error").textContent = keyed ? "The server does not know this key." : "";
  $("key").hidden = false;
  state("wrong", "needs a key");
  $("key-text").focus();
}

// --- models

const title = (model) => (models.filter((other) => other.name === model.name).length > 1
  ? `${model.name}, version ${model.version}` : model.name);

function chosen() {
  return models[Number($("models").value) || 0];
}

function showModels() {
  const choice = $("models");
  const before = choice.value;
  choice.replaceChildren(...models.map((model, index) => new Option(title(model), index)));
  if (before) choice.value = before;
  choice.hidden = models.length < 2;
  showFacts();
}

function showFacts() {
  const model = chosen();
  $("model-name").textContent = model && models.length === 1 ? title(model) : "";
  const classes = model?.labels?.length;
  const several = model?.multi_label ? ", several an image" : "";
  $("model-facts").textContent = classes ? `${classes} classes${several}` : "";
}

function query(model) {
  const asked = new URLSearchParams();
  if (model) {
    asked.set("model", model.name);
    asked.set("version", model.version);
  }
  if (model?.attention) asked.set("attention", "true");
  return asked.size ? `?${asked}` : "";
}

// --- one photo

function add(file, name) {
  const node = $("card").content.cloneNode(true).firstElementChild;
  const part = (selector) => node.querySelector(selector);
  const card = { file, name, node, part, id: ++counter, model: chosen() };
  part("figcaption").textContent = name;
  part("canvas").setAttribute("aria-label", name);
  part(".close").setAttribute("aria-label", `Remove ${name}`);
  part(".close").addEventListener("click", () => remove(card));
  part(".again").addEventListener("click", () => enqueue(card));
  $("results").prepend(node);
  enqueue(card);
}

function enqueue(card) {
  show(card, "busy", "waiting");
  jobs.push(card);
  work();
}

function work() {
  while (running < AT_ONCE && jobs.length) {
    const card = jobs.shift();
    if (card.gone) continue;
    running += 1;
    classify(card).finally(() => {
      running -= 1;
      work();
    });
  }
}

async function classify(card) {
  if (!card.photo) await preview(card);
  show(card, "busy", "classifying");
  card.model = chosen();
  try {
    const { body, timing, took } = await patiently(card);
    const answer = Array.isArray(body) ? body[0] : body;
    if (answer.error) throw new Refused(words(400, reason(answer)), 400);
    answered(card, answer, timing, took);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    failed(card, error);
  }
}

/** Sends the photo, again while the server is busy. */
async function patiently(card) {
  for (let attempt = 1; ; attempt += 1) {
    const start = performance.now();
    try {
      const type = card.file.type || "application/octet-stream";
      const options = { method: "POST", body: card.file, headers: { "content-type": type } };
      const found = await ask(`/v1/classify${query(card.model)}`, options);
      return { ...found, took: performance.now() - start };
    } catch (error) {
      if (error.status !== 429 || attempt === PATIENCE || card.gone) throw error;
      show(card, "busy", "the server is busy, waiting");
      await new Promise((resume) => setTimeout(resume, 1000 * Math.min(error.retry, 10)));
    }
  }
}

function show(card, state, text = "") {
  for (const name of ["busy", "error"]) {
    card.part(`.${name}`).hidden = name !== state;
    if (name === state) card.part(`.${name}`).textContent = text;
  }
  card.part(".again").hidden = state !== "error";
  card.part(".best").hidden = state !== "done";
  if (state !== "done") {
    card.part(".threshold").hidden = true;
    card.part(".bars").replaceChildren();
    card.part(".times").replaceChildren();
  }
}

function failed(card, error) {
  show(card, "error", error.message);
  say(`${card.name}: ${error.message}`);
  if (error.status === 401) askForKey();
  if (error.status === 0) state("wrong", "unreachable");
  if (error.status === 404) connect();
}

function answered(card, answer, timing, took) {
  show(card, "done");
  state("ready", "ready");
  const predictions = answer.predictions;
  const several = predictions.some((one) => "selected" in one);
  const picked = several ? predictions.filter((one) => one.selected) : predictions.slice(0, 1);
  headline(card.part(".best"), picked, several);
  card.part(".bars").replaceChildren(...predictions.map((one) => bar(one, picked.includes(one), card.model)));
  const thresholds = several && card.model?.threshold != null;
  card.part(".threshold").hidden = !thresholds;
  if (thresholds) card.part(".threshold").textContent = "The mark on a bar is the probability from which a label is chosen.";
  times(card.part(".times"), timing, took);
  if (answer.attention) layers(card, answer.attention);
  const names = picked.map((one) => `${one.label} ${percent(one.probability)}`).join(", ");
  say(`${card.name}: ${names || "none of the labels"}`);
}

function headline(node, picked, several) {
  const share = document.createElement("small");
  share.textContent = several ? "" : ` ${percent(picked[0].probability)}`;
  node.textContent = picked.map((one) => one.label).join(", ") || "None of the labels";
  node.append(share);
}

function bar({ index, label, probability }, is_chosen, model) {
  const row = element("li", is_chosen ? "chosen" : "");
  const track = element("div", "track");
  track.setAttribute("aria-hidden", "true");
  const fill = element("div", "fill");
  fill.style.width = `${100 * probability}%`;
  track.append(fill);
  const threshold = model?.threshold;
  const from = Array.isArray(threshold) ? threshold[index] : threshold;
  if (from != null) {
    const mark = element("div", "mark");
    mark.style.left = `${100 * from}%`;
    track.append(mark);
  }
  row.append(element("span", "label", label), element("span", "share", percent(probability)), track);
  return row;
}

function percent(share) {
  const text = (100 * share).toFixed(1);
  if (share > 0 && text === "0.0") return "< 0.1 %";
  if (share < 1 && text === "100.0") return "> 99.9 %";
  return `${text} %`;
}

/** Lists the steps of the header `Server-Timing`, and the time until the answer was here. */
function times(list, header, took) {
  const row = (name, milliseconds) => {
    const pair = document.createElement("div");
    pair.append(element("dt", "", name), element("dd", "", `${milliseconds.toFixed(1)} ms`));
    return pair;
  };
  const steps = (header ?? "").split(",").flatMap((step) => {
    const [name, ...parameters] = step.split(";").map((part) => part.trim());
    const duration = parameters.find((part) => part.startsWith("dur="));
    return name && duration ? [row(name, Number(duration.slice(4)))] : [];
  });
  list.replaceChildren(...steps, row("round trip", took));
}

// --- attention

/** Offers the photo, the mean of its masks, and each mask. */
function layers(card, { seen, masks }) {
  if (!card.photo || !masks.length) return;
  const box = card.part(".layers");
  const views = [["photo", null], ...masks.map(({ name, values }) => [name.split(".")[0], values])];
  if (masks.length > 1) views.splice(1, 0, ["attention", mean(masks)]);
  else views[1][0] = "attention";
  box.replaceChildren(box.firstElementChild, ...views.map(([name, mask], index) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: `layers-${card.id}`, checked: index === 0 });
    input.addEventListener("change", () => {
      draw(card, mask, seen);
      card.part("canvas").setAttribute("aria-label", mask ? `${card.name}, with ${name} laid over` : card.name);
    });
    label.append(input, element("span", "", name));
    return label;
  }));
  box.hidden = false;
}

// --- the page

function element(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

function say(text) {
  $("said").textContent = text;
}

function remove(card) {
  card.gone = true;
  const next = card.node.nextElementSibling ?? card.node.previousElementSibling;
  card.node.remove();
  (next?.querySelector(".close") ?? $("files")).focus();
  used();
}

function used() {
  const some = $("results").childElementCount > 0;
  document.body.classList.toggle("used", some);
  $("clear").hidden = !some;
}

function take(files) {
  notice("");
  const list = [...files];
  list.forEach((file, index) => add(file, file.name || `pasted photo ${counter + index + 1}`));
  if (!list.length) notice("There was no file in that. Drop or paste image files.");
  used();
}

$("files").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = "";
});
$("clear").addEventListener("click", () => {
  jobs.length = 0;
  $("results").replaceChildren();
  used();
  $("files").focus();
});
$("models").addEventListener("change", showFacts);
$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("key-text").value.trim());
  keyed = true;
  connect();
});

let depth = 0; // of elements that a drag has entered
const over = (change) => {
  depth = change ? Math.max(0, depth + change) : 0;
  document.body.classList.toggle("over", depth > 0);
};
addEventListener("dragenter", () => over(1));
addEventListener("dragleave", () => over(-1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  over(0);
  take(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  if (event.target.closest?.("input")) return;
  if (event.clipboardData.files.length) take(event.clipboardData.files);
});

$("curl").textContent = `curl --data-binary @photo.jpg ${location.origin}/v1/classify`;
connect();
