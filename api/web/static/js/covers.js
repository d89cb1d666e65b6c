// How much of the window is hidden under what sticks to its edges while the page scrolls, in pixels.
export class Covers {
  constructor(above, below) {
    Object.assign(this, { elements: { above, below } });
  }

  above() {
    return Math.max(0, ...this.elements.above.map((element) => reach(element, "top")));
  }

  below() {
    return Math.max(0, ...this.elements.below.map((element) => reach(element, "bottom")));
  }
}

function reach(element, edge) {
  const style = getComputedStyle(element);
  if (element.hidden || style.position !== "sticky") return 0;
  return parseFloat(style[edge]) + element.offsetHeight;
}
