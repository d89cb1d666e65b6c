// The threshold picker: a threshold along the validation split's curve, and what it really gives on every split.
//
// `selective` is that part of a job's result.json. Also used, without a server, by the report.
const SVG = "http://www.w3.org/2000/svg";
const BOX = { left: 52, right: 14, top: 14, bottom: 40, width: 560, height: 250 }; // api/web/charts/lines.py
const KINDS = { product: "third", masktune: "after", erm: "before" };

export function startPicker(root, selective) {
  const picker = root.querySelector("[data-picker]");
  const score = picker.querySelector("[data-score]");
  const slider = picker.querySelector("[data-slider]");
  const show = () => showThreshold(root, selective, score.value, Number(slider.value));
  score.addEventListener("change", () => {
    reset();
    show();
  });
  slider.addEventListener("input", show);

  function reset() {
    const offered = selective[score.value].offered;
    slider.max = String(offered.length - 1);
    // To begin with, as many as 95 % of the validation images are answered.
    const coverage = validation(selective, score.value)?.realised.coverage ?? [];
    const start = coverage.findIndex((share) => share >= 0.95 - 1e-9);
    slider.value = String(start < 0 ? offered.length - 1 : start);
  }

  if (!selective[score.value]?.offered?.length) return;
  picker.hidden = false;
  reset();
  show();
}

function showThreshold(root, selective, score, at) {
  const found = selective[score];
  const threshold = found.offered[at];
  root.querySelector("[data-threshold]").textContent = threshold.toFixed(4);
  const chosen = validation(selective, score);
  const told = root.querySelector("[data-told]");
  told.textContent = chosen
    ? `On the validation split it answers ${percent(chosen.realised.coverage[at])}, and errs on ${percent(chosen.realised.risk[at])} of that.`
    : "";
  root.querySelector("[data-slider]").setAttribute("aria-valuetext", `threshold ${threshold.toFixed(4)}`);
  for (const figure of root.querySelectorAll("figure[data-split]")) {
    const here = found.splits[figure.dataset.split];
    if (!here) continue;
    const coverage = here.realised.coverage[at];
    const risk = here.realised.risk[at];
    const line = figure.querySelector("[data-realised]");
    line.hidden = false;
    line.textContent =
      risk === null ? "Realised: nothing is answered." : `Realised: coverage ${percent(coverage)}, risk ${percent(risk, 2)}`;
    mark(figure.querySelector("svg"), KINDS[score], coverage, risk);
  }
}

function validation(selective, score) {
  return selective[score].splits.val;
}

function mark(chart, kind, coverage, risk) {
  const marks = chart?.querySelector(".marks");
  if (!marks) return;
  marks.replaceChildren();
  if (risk === null) return;
  const [lowX, highX] = chart.dataset.x.split(" ").map(Number);
  const [lowY, highY] = chart.dataset.y.split(" ").map(Number);
  const x = BOX.left + ((coverage - lowX) / (highX - lowX)) * (BOX.width - BOX.left - BOX.right);
  const y = BOX.top + (1 - (risk - lowY) / (highY - lowY)) * (BOX.height - BOX.top - BOX.bottom);
  const line = document.createElementNS(SVG, "line");
  const dot = document.createElementNS(SVG, "circle");
  for (const [name, value] of Object.entries({ x1: x, x2: x, y1: BOX.top, y2: BOX.height - BOX.bottom, class: "cut" })) {
    line.setAttribute(name, String(value));
  }
  for (const [name, value] of Object.entries({ cx: x, cy: y, r: 5, class: `dot ${kind}` })) dot.setAttribute(name, String(value));
  marks.append(line, dot);
}

function percent(value, digits = 1) {
  return value === null ? "–" : `${(100 * value).toFixed(digits)} %`;
}
