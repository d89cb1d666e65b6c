// The pictures of one image: all four side by side, or one of them as large as the window allows.
import { picture } from "./sample-tile.js";

const SIDE = 1600; // pixels fetched at most; a photograph may have twelve million
const SMALL = 200; // pixels; below, they are shown one by one

export class SamplePanels {
  constructor(dialog) {
    this.panels = dialog.querySelector("[data-panels]");
    this.images = [...this.panels.querySelectorAll("[data-picture]")];
    this.buttons = [...dialog.querySelectorAll("[data-panel]")];
    for (const [number, button] of this.buttons.entries()) button.addEventListener("click", () => this.choose(number));
    for (const stage of this.panels.querySelectorAll(".stage")) {
      const { of } = stage.closest("figure").dataset;
      stage.addEventListener("click", () => this.show(this.panels.dataset.panels === "all" ? of : "all"));
    }
  }

  // By the number of its button, or of the key that does the same; there may be no such thing.
  choose(number) {
    const button = this.buttons[number];
    if (button) this.show(button.dataset.panel);
  }

  show(name) {
    this.panels.dataset.panels = name;
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.panel === name));
  }

  draw(sample, words) {
    for (const [number, image] of this.images.entries()) {
      const kind = image.dataset.picture;
      const map = kind === "before" || kind === "after";
      image.classList.toggle("pixels", Math.max(sample.width, sample.height) < SMALL);
      image.alt = number === 0 ? words : ""; // what the others show stands below them
      load(image, map ? picture(sample, "map", kind, SIDE) : picture(sample, kind, "before", SIDE));
    }
  }
}

// A browser shows the old picture until the new one is there, which here would be one image under the words of another.
async function load(image, address) {
  image.classList.add("loading");
  image.src = address;
  await image.decode().catch(() => {}); // then the browser shows that it could not
  if (image.getAttribute("src") === address) image.classList.remove("loading");
}
