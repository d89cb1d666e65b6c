// One image, large: heatmaps over it, what was masked, and what the models said. ← and → go through the selection.
import { getJson } from "./problems.js";
import { className, inWords, percent } from "./sample-tile.js";
import { SamplePanels } from "./sample-panels.js";
import { toast } from "./toast.js";

const MOST_CLASSES = 10;

export class SampleDialog {
  constructor(element, { base, classes, picks, neighbour, changed, closed }) {
    Object.assign(this, { element, base, classes, picks, neighbour, changed });
    this.index = null; // of the image that is asked for
    this.sample = null; // what is shown of it; null when it could not be fetched
    this.run = 0;
    this.stepping = false;
    this.panels = new SamplePanels(element);
    const opacity = element.querySelector("#sample-opacity");
    const blend = () => {
      for (const image of element.querySelectorAll(".overlay")) image.style.opacity = opacity.value / 100;
    };
    opacity?.addEventListener("input", blend);
    if (opacity) blend();
    this.find("[data-dialog-pick]").addEventListener("change", () => picks.toggle(this.sample.index));
    this.find("[data-dialog-again]").addEventListener("click", () => this.show(this.index));
    for (const step of [-1, 1]) this.button(step).addEventListener("click", () => this.step(step));
    this.find("[data-close]").addEventListener("click", () => element.close());
    // A click beside the sheet closes it; one that began on the sheet, as when a slider is drawn too far, does not.
    let beganBeside = false;
    element.addEventListener("pointerdown", (event) => {
      beganBeside = event.target === element;
    });
    element.addEventListener("click", (event) => beganBeside && event.target === element && element.close());
    element.addEventListener("close", () => {
      this.run += 1; // an answer that comes now must not open it again
      closed(this.index);
    });
    element.addEventListener("keydown", (event) => {
      if (event.target === opacity || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "x" && this.sample) this.picks.toggle(this.sample.index);
      this.panels.choose(Number(event.key) - 1);
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      this.step(step);
    });
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  button(step) {
    return this.find(`[data-step="${step}"]`);
  }

  showPick() {
    if (this.sample) this.find("[data-dialog-pick]").checked = this.picks.has(this.sample.index);
  }

  get isOpen() {
    return this.element.open;
  }

  close() {
    if (this.isOpen) this.element.close();
  }

  async show(index) {
    const asked = ++this.run;
    this.index = index;
    let sample = null;
    let problem = "";
    try {
      sample = await getJson(`${this.base}/${index}`);
    } catch (error) {
      problem = error.message;
    }
    if (asked !== this.run) return;
    this.sample = sample;
    this.find("[data-dialog-body]").hidden = sample === null;
    this.find("[data-dialog-problem]").hidden = sample !== null;
    this.find("[data-dialog-problem] p").textContent = problem;
    this.find("[data-dialog-pick]").disabled = sample === null;
    for (const step of [-1, 1]) this.allow(step, sample !== null);
    if (sample === null) this.title(`Image ${index}`, null);
    else this.draw(sample);
    if (!this.isOpen) this.element.showModal();
  }

  // Not `disabled`: that would take the focus away from whoever has just pressed it.
  allow(step, yes) {
    this.button(step).setAttribute("aria-disabled", String(!yes));
  }

  async step(step) {
    if (!this.sample || this.stepping || this.button(step).ariaDisabled === "true") return;
    this.stepping = true;
    let found = null;
    try {
      found = await this.neighbour(this.sample.index, step);
      if (found === null) {
        this.allow(step, false);
        toast(step < 0 ? "This is the first image of the list." : "This is the last image of the list.");
      }
    } catch (error) {
      toast(error.message, "bad"); // there may well be one
    }
    this.stepping = false;
    if (found === null || !this.isOpen) return;
    this.changed(found.index);
    await this.show(found.index);
  }

  title(text, flipped) {
    this.find("#sample-title").textContent = text;
    const badge = this.find("[data-flip]");
    badge.hidden = !flipped;
    badge.className = `badge ${flipped ?? ""}`;
    badge.textContent = flipped ?? "";
  }

  draw(sample) {
    const { classes } = this;
    this.title(`Image ${sample.index} · ${className(classes, sample.label)}`, sample.flipped);
    this.panels.draw(sample, inWords(sample, classes));
    for (const side of ["before", "after"]) {
      const right = sample[`correct_${side}`];
      this.find(`[data-said="${side}"]`).textContent =
        `${className(classes, sample[`predicted_${side}`])} at ${percent(sample[`confidence_${side}`])}, ${right ? "right" : "wrong"}`;
    }
    this.find('[data-said="masked"]').textContent = `${percent(sample.masked_fraction)} of the pixels`;
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
    const list = this.find("[data-facts]");
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
    const table = this.find(".probabilities");
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
