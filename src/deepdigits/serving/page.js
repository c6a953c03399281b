"use strict";
const element = id => document.getElementById(id);
const readers = element("readers"), LABELS = { cnn: "CNN", rnn: "RNN" }, MOST_ROWS = 12;
let classes = Array.from("0123456789"), input = "digits", stopRecording = null;

// An area to draw on with mouse, pen, finger or keys. `read` is called shortly after a stroke, with a function that
// returns whether the answer is still wanted. `forget` is called when the area is cleared.
function makePad(id, name, lineWidth, status, read, forget) {
  const pad = element(id), pen = pad.getContext("2d", { willReadFrequently: true });
  let cursor = [pad.width / 2, pad.height / 2], down = false, drawing = false, waiting = null, asked = 0;
  const field = { pad, say: text => { if (!down) status.textContent = text; }, wipe };

  function wipe() {
    pen.fillStyle = "#000"; pen.fillRect(0, 0, pad.width, pad.height);
    clearTimeout(waiting); down = false; asked += 1;
    pad.setAttribute("aria-label", `${name}, empty`);
    status.textContent = "";
    forget();
  }

  function stroke(from, to) {
    pen.strokeStyle = "#fff"; pen.lineWidth = lineWidth; pen.lineCap = pen.lineJoin = "round";
    pen.beginPath(); pen.moveTo(...from); pen.lineTo(to[0] + 0.01, to[1]); pen.stroke();
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const mine = ++asked;
      try { await read(field, () => mine === asked); }
      catch { if (mine === asked) status.textContent = "The server is not responding."; }
    }, 120);
  }

  function place(event) {
    const box = pad.getBoundingClientRect();
    return [(event.clientX - box.left) * pad.width / box.width, (event.clientY - box.top) * pad.height / box.height];
  }

  pad.addEventListener("pointerdown", event => { pad.setPointerCapture(event.pointerId); drawing = true; cursor = place(event); stroke(cursor, cursor); });
  pad.addEventListener("pointermove", event => { if (drawing) { const to = place(event); stroke(cursor, to); cursor = to; } });
  for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => { drawing = false; });
  pad.addEventListener("keydown", event => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in moves) {
      const [x, y] = moves[event.key], limit = at => Math.min(pad.width - 12, Math.max(12, at));
      const to = [limit(cursor[0] + 10 * x), limit(cursor[1] + 10 * y)];
      if (down) stroke(cursor, to);
      cursor = to;
      status.textContent = `Pen ${down ? "down" : "up"} at ${Math.round(100 * to[0] / pad.width)} %, ${Math.round(100 * to[1] / pad.height)} %`;
    } else if (event.key === " ") { down = !down; if (down) stroke(cursor, cursor); status.textContent = `Pen ${down ? "down" : "up"}`; }
    else if (event.key.toLowerCase() === "c") wipe();
    else return;
    event.preventDefault();
  });
  return field;
}

async function refusal(answer) {
  try { return (await answer.json()).detail; } catch { return `The server returned status ${answer.status}.`; }
}

function sendFile(file, name, address) {
  const form = new FormData(); form.append("files", file, name);
  return fetch(address, { method: "POST", body: form });
}

async function send(pad, address) {
  return sendFile(await new Promise(done => pad.toBlob(done, "image/png")), "drawing.png", address);
}

// A drawing of a digit is prepared as MNIST was. Any other is sent as the network sees it: 28 by 28 grey values.
function sendReduced(pad, address) {
  const small = document.createElement("canvas"); small.width = small.height = 28;
  const pen = small.getContext("2d"); pen.imageSmoothingQuality = "high"; pen.drawImage(pad, 0, 0, 28, 28);
  const values = pen.getImageData(0, 0, 28, 28).data;
  const image = Array.from({ length: 28 }, (_, row) => Array.from({ length: 28 }, (_, column) => values[4 * (28 * row + column)]));
  return fetch(address, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ images: [image] }) });
}

// Sends something to the classifiers and shows their answers. Returns the names that they give it, or null.
async function classify(sent, say, wanted) {
  await arranged;
  const kinds = Object.keys(LABELS).filter(kind => element("reader-" + kind)), model = kinds.length > 1 ? "all" : kinds[0];
  if (!model) return null;
  const answer = await sent(`v1/classify?model=${model}`);
  if (!wanted()) return null;
  if (!answer.ok) { say(await refusal(answer)); return null; }
  const { results } = await answer.json();
  for (const result of results) show(result.model.split("-").pop(), result);
  return results.map(one => one.answers[0].class_name).join(" and ");
}

async function read({ pad, say }, wanted) {
  const names = await classify(address => (input === "digits" ? send : sendReduced)(pad, address), say, wanted);
  if (names === null) return;
  pad.setAttribute("aria-label", `Drawing area, read as ${names}`);
  say("");
}

async function readFile(file, name) {
  const say = text => { element("status").textContent = text; };
  if (input !== "recordings") field.wipe();
  try {
    const names = await classify(address => sendFile(file, name, address), say, () => true);
    if (names !== null) say(`${name}, read as ${names}`);
  } catch { say("The server is not responding."); }
}

async function record() {
  const button = element("record"), status = element("status");
  const showing = on => { button.setAttribute("aria-pressed", on); button.textContent = on ? "Stop" : "Record"; };
  if (stopRecording) { stopRecording(); return; }
  try {
    const recorded = recordSound(new Promise(done => { stopRecording = done; }));
    showing(true); status.textContent = "Recording";
    await readFile(await recorded, "recording.wav");
  } catch (error) { status.textContent = `The microphone cannot be used: ${error.message}`; }
  stopRecording = null; showing(false);
}

const marks = element("marks").getContext("2d");
const COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#b0b0b0", "#bcbd22", "#17becf"];

async function find({ pad, say }, wanted) {
  const [found, pixels] = await Promise.all([send(pad, "v1/detect"), send(pad, "v1/segment")]);
  if (!wanted()) return;
  const refused = [found, pixels].find(answer => !answer.ok);
  if (refused) { say(await refusal(refused)); return; }
  const seen = (await found.json()).scenes[0], mask = (await pixels.json()).masks[0];
  if (!wanted()) return;
  const cell = pad.width / mask.length;
  marks.clearRect(0, 0, pad.width, pad.height);
  marks.globalAlpha = 0.7;
  mask.forEach((row, y) => row.forEach((kind, x) => {
    if (kind) { marks.fillStyle = COLOURS[(kind - 1) % COLOURS.length]; marks.fillRect(x * cell, y * cell, cell, cell); }
  }));
  marks.globalAlpha = 1; marks.lineWidth = 2; marks.font = "16px system-ui, sans-serif";
  for (const { class_name: name, score, box } of seen) {
    marks.strokeStyle = marks.fillStyle = "#7dff9b";
    marks.strokeRect(...box);
    marks.fillText(`${name} (${Math.round(100 * score)} %)`, box[0], Math.max(14, box[1] - 4));
  }
  const names = seen.map(digit => digit.class_name).join(", ");
  pad.setAttribute("aria-label", seen.length ? `Scene, found: ${names}` : "Scene, nothing found");
  say(seen.length ? `Found: ${names}` : "Nothing found");
}

function show(kind, result) {
  const box = element("reader-" + kind), answer = result && result.answers[0];
  const shares = answer ? answer.probabilities : classes.map(() => 0);
  box.querySelector(".answer").textContent = answer ? answer.class_name : "–";
  box.querySelector(".version").textContent = result ? `${result.model} version ${result.version}` : "";
  let shown = classes.map((_, label) => label);
  if (shown.length > MOST_ROWS) shown = shown.sort((one, other) => shares[other] - shares[one]).slice(0, MOST_ROWS);
  box.querySelectorAll(".row").forEach((row, place) => {
    const share = shares[shown[place]];
    row.firstElementChild.textContent = classes[shown[place]];
    row.querySelector(".fill").style.width = `${100 * share}%`;
    row.lastElementChild.textContent = answer ? `${(100 * share).toFixed(1)} %` : "";
  });
}

function addReader(kind, label) {
  const box = document.createElement("section"); box.id = "reader-" + kind;
  box.innerHTML = `<h2>${label}</h2><div class="answer" aria-label="${label} reads">–</div><p class="version"></p>` +
    '<div class="row"><span></span><div class="track"><div class="fill"></div></div><span></span></div>'.repeat(Math.min(classes.length, MOST_ROWS));
  readers.append(box);
  show(kind, null);
}

function display(place, sheet, alt) {
  const image = new Image(); image.alt = alt;
  image.src = URL.createObjectURL(sheet); image.onload = () => URL.revokeObjectURL(image.src);
  place.replaceChildren(image);
}

async function swap() {
  const place = element("swapped");
  try {
    const answer = await send(field.pad, "v1/swap?format=png");
    if (!answer.ok) { place.textContent = await refusal(answer); return; }
    display(place, await answer.blob(), `In the handwriting of your drawing: ${classes.join(", ")}`);
  } catch { place.textContent = "The server is not responding."; }
}

async function generate(label) {
  const seeds = Array.from({ length: 10 }, () => Math.floor(Math.random() * 2 ** 31)), place = element("drawn");
  try {
    const answer = await fetch("v1/generate?format=png", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ digits: Array(10).fill(label), seeds }) });
    if (!answer.ok) { place.textContent = await refusal(answer); return; }
    display(place, await answer.blob(), `Ten generated images: ${classes[label]}`);
  } catch { place.textContent = "The server is not responding."; }
}
function addGenerator() {
  classes.forEach((name, label) => {
    const button = document.createElement("button"); button.type = "button"; button.textContent = name;
    button.setAttribute("aria-label", `Draw ${name}`);
    button.addEventListener("click", () => generate(label));
    element("digits").append(button);
  });
}

// What is on the page depends on the champions and on their classes.
async function arrange() {
  const { models } = await (await fetch("v1/models")).json();
  const kinds = models.map(model => model.name.split("-").pop());
  element("empty").hidden = models.length > 0;
  if (models.length) classes = models[0].classes;
  if (models.length) input = models[0].input;
  if (input !== "digits") {
    element("title").textContent = document.title = `deepdigits: ${models[0].name.replace(/-[^-]*$/, "")}`;
    document.body.classList.add("named");
  }
  for (const part of document.querySelectorAll("[data-needs]")) part.hidden = !part.dataset.needs.split(" ").every(kind => kinds.includes(kind));
  for (const part of document.querySelectorAll("[data-input]")) part.hidden = (input === "recordings") !== (part.dataset.input === "recordings");
  element("record").hidden = !navigator.mediaDevices;  // browsers offer the microphone to secure pages only
  element("upload").hidden = input === null || !kinds.some(kind => kind in LABELS);
  element("file").accept = input === "recordings" ? ".wav,audio/wav" : "image/png,image/jpeg";
  for (const [kind, label] of Object.entries(LABELS)) if (kinds.includes(kind)) addReader(kind, label);
  addGenerator();
}

const field = makePad("pad", "Drawing area", 22, element("status"), read, () => { for (const box of readers.children) show(box.id.replace("reader-", ""), null); });
const scene = makePad("scene", "Scene", 11, element("scene-status"), find, () => marks.clearRect(0, 0, 336, 336));
element("record").addEventListener("click", record);
element("file").addEventListener("change", ({ target }) => { const [file] = target.files; target.value = ""; if (file) readFile(file, file.name); });
element("clear").addEventListener("click", () => { field.wipe(); field.pad.focus(); });
element("swap").addEventListener("click", swap);
element("clear-scene").addEventListener("click", () => { scene.wipe(); scene.pad.focus(); });
field.wipe(); scene.wipe();
const arranged = arrange().catch(() => { element("status").textContent = "The server is not responding."; });
