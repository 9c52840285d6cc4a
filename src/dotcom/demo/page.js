"use strict";

const part = (id) => document.getElementById(id);
let file = null;
let waiting = null;

function say(text, error = false) {
  part("message").textContent = text;
  part("message").classList.toggle("error", error);
}

async function predict() {
  if (!file) return;
  waiting?.abort();
  const asked = (waiting = new AbortController());
  say(`looking at ${file.name} …`);
  part("result").classList.add("busy");
  try {
    const response = await fetch(`/predict?threshold=${part("threshold").value}`, { method: "POST", body: file, signal: asked.signal });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    show(answer);
    say("");
  } catch (error) {
    if (asked.signal.aborted) return;
    part("result").hidden = true;
    say(error instanceof TypeError ? "no answer; is dotcom demo still running?" : `${file.name}: ${error.message}`, true);
  }
  part("result").classList.remove("busy");
}

function show(answer) {
  part("drawing").src = answer.drawing;
  part("drawing").alt = part("line").textContent = answer.line;
  part("time").textContent = `${answer.milliseconds.toFixed(1)} ms at ${answer.seen.join(" × ")} pixels, of ${answer.size.join(" × ")}`;
  part("without").hidden = !answer.without;
  if (answer.without) {
    part("other").src = answer.without.drawing;
    part("other").alt = part("other-line").textContent = answer.without.line;
    part("change").textContent = answer.without.change;
  }
  part("result").hidden = false;
}

function take(files) {
  if (!files.length) return;
  file = files[0];
  predict();
}

async function start() {
  const about = await (await fetch("/about")).json();
  part("network").textContent = document.title = about.name;
  part("about").textContent = about.line;
  part("scores").hidden = about.task !== "Detection";
}

part("file").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = ""; // so that the same file can be chosen again
});
part("drop").addEventListener("keydown", (event) => ["Enter", " "].includes(event.key) && part("file").click());
part("threshold").addEventListener("input", () => (part("least").value = `${Math.round(part("threshold").value * 100)} %`));
part("threshold").addEventListener("change", predict);
addEventListener("dragover", (event) => { event.preventDefault(); part("drop").classList.add("over"); });
addEventListener("dragleave", () => part("drop").classList.remove("over"));
addEventListener("drop", (event) => { event.preventDefault(); part("drop").classList.remove("over"); take(event.dataTransfer.files); });
addEventListener("paste", (event) => take(event.clipboardData.files));
start();
