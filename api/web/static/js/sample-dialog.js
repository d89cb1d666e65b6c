// One image, large: heatmaps over it, what was masked, and what the models said. ← and → go through the selection.
import { className, inWords, percent, picture } from "./sample-tile.js";

const MOST_CLASSES = 10;

export class SampleDialog {
  constructor(element, { base, classes, picks, neighbour, changed, closed }) {
    Object.assign(this, { element, base, classes, picks, neighbour, changed });
    this.sample = null;
    this.run = 0;
    const opacity = element.querySelector("#sample-opacity");
    const blend = () => {
      for (const image of element.querySelectorAll(".overlay")) image.style.opacity = opacity.value / 100;
    };
    opacity.addEventListener("input", blend);
    blend();
    element.querySelector("[data-dialog-pick]").addEventListener("change", () => {
      if (this.sample) picks.toggle(this.sample.index);
    });
    for (const button of element.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => this.step(Number(button.dataset.step)));
    }
    element.querySelector("[data-close]").addEventListener("click", () => element.close());
    element.addEventListener("click", (event) => event.target === element && element.close());
    element.addEventListener("close", () => closed(this.sample?.index ?? null));
    element.addEventListener("keydown", (event) => {
      if (event.target === opacity || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "x" && this.sample) this.picks.toggle(this.sample.index);
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      this.step(step);
    });
  }

  showPick() {
    if (this.sample) this.element.querySelector("[data-dialog-pick]").checked = this.picks.has(this.sample.index);
  }

  get isOpen() {
    return this.element.open;
  }

  close() {
    if (this.isOpen) this.element.close();
  }

  async show(index) {
    const asked = ++this.run;
    const answer = await fetch(`${this.base}/${index}`, { headers: { Accept: "application/json" } });
    if (asked !== this.run) return;
    const sample = await answer.json();
    this.sample = answer.ok ? sample : null;
    if (answer.ok) this.draw(sample);
    else this.element.querySelector("#sample-title").textContent = sample.detail;
    if (!this.isOpen) this.element.showModal();
  }

  async step(step) {
    if (!this.sample || this.stepping) return;
    this.stepping = true;
    const found = await this.neighbour(this.sample.index, step);
    this.stepping = false;
    const button = this.element.querySelector(`[data-step="${step}"]`);
    button.disabled = found === null;
    if (found === null || !this.isOpen) return;
    this.element.querySelector(`[data-step="${-step}"]`).disabled = false;
    this.changed(found.index);
    await this.show(found.index);
  }

  draw(sample) {
    const { element, classes } = this;
    element.querySelector("#sample-title").textContent = `Image ${sample.index} · ${className(classes, sample.label)}`;
    const badge = element.querySelector("[data-flip]");
    badge.hidden = !sample.flipped;
    badge.className = `badge ${sample.flipped ?? ""}`;
    badge.textContent = sample.flipped ?? "";
    const small = Math.max(sample.width, sample.height) < 200;
    for (const image of element.querySelectorAll("[data-picture]")) {
      const kind = image.dataset.picture;
      image.classList.toggle("pixels", small);
      image.src = kind === "before" || kind === "after" ? picture(sample, "map", kind) : picture(sample, kind);
      image.alt = kind === "original" ? inWords(sample, classes) : "";
    }
    for (const side of ["before", "after"]) {
      const right = sample[`correct_${side}`];
      element.querySelector(`[data-said="${side}"]`).textContent =
        `${className(classes, sample[`predicted_${side}`])} at ${percent(sample[`confidence_${side}`])}, ${right ? "right" : "wrong"}`;
    }
    element.querySelector('[data-said="masked"]').textContent = `${percent(sample.masked_fraction)} of the pixels`;
    this.facts([
      ["Split", sample.split],
      ["Group", sample.group_name],
      ["Confidence drop", `${(100 * sample.confidence_drop).toFixed(1).replace("-", "−")} points`],
      ["Heatmap distance", sample.heatmap_distance.toFixed(3)],
      ["Size", `${sample.width} × ${sample.height} px`],
    ]);
    this.probabilities(sample);
    this.showPick();
  }

  facts(rows) {
    const list = this.element.querySelector("[data-facts]");
    list.replaceChildren();
    for (const [name, value] of rows) {
      if (value === null) continue;
      const term = document.createElement("dt");
      const text = document.createElement("dd");
      term.textContent = name;
      text.textContent = value;
      list.append(term, text);
    }
  }

  probabilities(sample) {
    const table = this.element.querySelector(".probabilities");
    const { probabilities_before: before, probabilities_after: after } = sample;
    table.hidden = before === null || after === null;
    if (table.hidden) return;
    const order = before.map((_, label) => label);
    order.sort((a, b) => Math.max(before[b], after[b]) - Math.max(before[a], after[a]));
    const body = table.querySelector("tbody");
    body.replaceChildren();
    for (const label of order.slice(0, MOST_CLASSES)) {
      const row = document.createElement("tr");
      const name = document.createElement("th");
      name.scope = "row";
      name.textContent = className(this.classes, label) + (label === sample.label ? " (true)" : "");
      row.append(name, this.bar(before[label], "before"), this.bar(after[label], "after"));
      body.append(row);
    }
  }

  bar(value, side) {
    const cell = document.createElement("td");
    cell.className = `num ${side}`;
    const fill = document.createElement("span");
    fill.className = "fill";
    fill.style.width = `calc((100% - 4.6rem) * ${value})`; // beside the figure, not under it
    const text = document.createElement("span");
    text.textContent = percent(value);
    cell.append(fill, text);
    return cell;
  }
}
