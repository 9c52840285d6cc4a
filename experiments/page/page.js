"use strict";
// Toggles arms, shows values under the pointer, lights up the points of one seed. Without it the page shows the same.
const { arms, charts } = JSON.parse(document.getElementById("data").textContent);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const shown = (arm) => document.querySelector(`[data-toggle="${arm}"]`).getAttribute("aria-pressed") === "true";
const text = (value) => (Math.abs(value) < 1e4 ? value.toPrecision(4) : String(value)).replace("-", "\u2212");

function toggle(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", on);
  for (const part of all(`[data-arm="${button.dataset.toggle}"]`)) part.classList.toggle("off", !on);
}

function nearest(numbers, wanted) {
  return numbers.reduce((best, number, i) => (Math.abs(number - wanted) < Math.abs(numbers[best] - wanted) ? i : best), 0);
}

function cell(tag, content, className) {
  const made = document.createElement(tag);
  if (className) made.append(Object.assign(document.createElement("i"), { className }));
  made.append(content);
  return made;
}

// The values of a chart at an step, as rows: never as HTML, because names come from files.
function rows(chart, step) {
  const table = document.createElement("table");
  table.append(cell("caption", `step ${step}`));
  for (const curve of chart.curves.filter((one) => shown(one.arm) && one.steps.includes(step))) {
    const at = curve.steps.indexOf(step);
    const row = table.insertRow();
    row.append(cell("td", arms[curve.arm], `arm-${curve.arm % 8}`), cell("td", text(curve.mean[at])));
    if (curve.runs > 1) row.append(cell("td", `${text(curve.low[at])} to ${text(curve.high[at])}`));
  }
  return table;
}

function inspect(svg) {
  const chart = charts[svg.dataset.chart];
  const steps = [...new Set(chart.curves.flatMap((curve) => curve.steps))].sort((a, b) => a - b);
  const cross = svg.querySelector(".cross");
  const tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true });
  tip.setAttribute("role", "status");
  svg.parentElement.append(tip);
  let at = steps.length - 1;

  function show() {
    const [low, high, start, end] = chart.x;
    const [bottom, top] = chart.y;
    const x = start + ((steps[at] - low) / (high - low)) * (end - start);
    cross.setAttribute("d", `M${x} ${top}V${bottom}`);
    tip.replaceChildren(rows(chart, steps[at]));
    tip.hidden = false;
    const share = x / svg.viewBox.baseVal.width;
    tip.style.left = share < 0.5 ? `calc(${share * 100}% + 12px)` : "auto";
    tip.style.right = share < 0.5 ? "auto" : `calc(${100 - share * 100}% + 12px)`;
    tip.style.top = `${svg.getBoundingClientRect().top - svg.parentElement.getBoundingClientRect().top + 12}px`;
  }

  function hide() {
    tip.hidden = true;
    cross.setAttribute("d", "");
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const [low, high, start, end] = chart.x;
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    at = nearest(steps, low + ((x - start) / (end - start)) * (high - low));
    show();
  });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    at = Math.min(steps.length - 1, Math.max(0, at + step));
    show();
  });
  svg.addEventListener("focus", show);
  for (const leaving of ["pointerleave", "blur"]) svg.addEventListener(leaving, hide);
}

function light(point) {
  const same = all(`circle[data-seed="${point.dataset.seed}"]`, point.closest(".plots"));
  point.addEventListener("pointerenter", () => same.forEach((one) => one.classList.add("lit")));
  point.addEventListener("pointerleave", () => same.forEach((one) => one.classList.remove("lit")));
}

for (const button of all("[data-toggle]")) button.addEventListener("click", () => toggle(button));
all("[data-chart]").forEach(inspect);
all("circle[data-seed]").forEach(light);
addEventListener("beforeprint", () => all("details").forEach((one) => (one.open = true)));
document.documentElement.dataset.ready = "true";
