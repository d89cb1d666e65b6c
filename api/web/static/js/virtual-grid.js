// A grid of any number of items of which only those in sight are in the document.
//
// Items come from `more()` → {items, more} as the visitor nears the end, and are drawn by `make(item, element)`. Columns
// follow the width; tiles have the size that the style sheet gives to --tile-width and --tile-height. The page itself
// scrolls, so that keyboards, wheels and fingers work as anywhere.
const SPARE_ROWS = 3;
const AHEAD_SCREENS = 3;

export class VirtualGrid {
  constructor(element, { make, more }) {
    Object.assign(this, { element, make, more, items: [], done: false });
    this.shown = new Map(); // number of the item → its element
    this.loading = false;
    this.epoch = 0;
    const update = () => {
      this.waiting ??= requestAnimationFrame(() => {
        this.waiting = null;
        this.update();
      });
    };
    window.addEventListener("scroll", update, { passive: true });
    new ResizeObserver(update).observe(element);
    element.addEventListener("keydown", (event) => this.move(event));
  }

  async restart() {
    this.epoch += 1;
    this.items = [];
    this.done = false;
    this.loading = false;
    this.clear();
    this.update();
    await this.pending;
  }

  redraw() {
    const first = this.firstRow() * this.columns();
    this.clear();
    this.update();
    if (first > 0) window.scrollTo(0, this.topOf(first));
    this.update();
  }

  focus(wanted) {
    const number = this.items.findIndex(wanted);
    if (number >= 0) this.bring(number);
  }

  clear() {
    for (const element of this.shown.values()) element.remove();
    this.shown.clear();
  }

  size(name) {
    return parseFloat(getComputedStyle(this.element).getPropertyValue(name));
  }

  columns() {
    return Math.max(1, Math.floor(this.element.clientWidth / this.size("--tile-width")));
  }

  top() {
    return this.element.getBoundingClientRect().top + window.scrollY;
  }

  topOf(number) {
    return this.top() + Math.floor(number / this.columns()) * this.size("--tile-height") - 80;
  }

  firstRow() {
    return Math.max(0, Math.floor((window.scrollY - this.top()) / this.size("--tile-height")));
  }

  update() {
    const columns = this.columns();
    const height = this.size("--tile-height");
    const width = this.element.clientWidth / columns;
    const rows = Math.ceil(this.items.length / columns);
    this.element.style.height = `${(rows + (this.done ? 0 : 1)) * height}px`;
    const first = Math.max(0, this.firstRow() - SPARE_ROWS) * columns;
    const visibleRows = Math.ceil(window.innerHeight / height) + 2 * SPARE_ROWS + 1;
    const last = Math.min(this.items.length, first + visibleRows * columns);
    for (const [number, element] of this.shown) {
      if (number >= first && number < last) continue;
      if (element.contains(document.activeElement)) continue; // focus must not vanish under the visitor
      element.remove();
      this.shown.delete(number);
    }
    for (let number = first; number < last; number += 1) this.put(number, columns, width, height);
    const bottom = window.scrollY + (1 + AHEAD_SCREENS) * window.innerHeight;
    if (!this.done && !this.loading && this.top() + rows * height < bottom) this.pending = this.load();
  }

  put(number, columns, width, height) {
    let element = this.shown.get(number);
    if (!element) {
      element = document.createElement("div");
      element.setAttribute("role", "listitem");
      element.className = "cell";
      element.dataset.number = number;
      this.make(this.items[number], element);
      this.shown.set(number, element);
      const after = this.shown.get(number - 1);
      if (after) after.after(element);
      else this.element.append(element);
    }
    element.style.width = `${width}px`;
    element.style.height = `${height}px`;
    element.style.transform = `translate(${(number % columns) * width}px, ${Math.floor(number / columns) * height}px)`;
  }

  async load() {
    const epoch = this.epoch;
    this.loading = true;
    this.element.setAttribute("aria-busy", "true");
    const page = await this.more();
    if (epoch !== this.epoch) return;
    this.loading = false;
    this.element.removeAttribute("aria-busy");
    if (page === null) {
      this.done = true; // the reason was told
    } else {
      this.items.push(...page.items);
      this.done = !page.more;
    }
    this.update();
  }

  // Arrow keys move between tiles, Home and End to the first and the last one loaded.
  move(event) {
    const cell = event.target.closest("[data-number]");
    const columns = this.columns();
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    let number = Number(cell.dataset.number);
    if (event.key in steps) number += steps[event.key];
    else if (event.key === "Home") number = 0;
    else if (event.key === "End") number = this.items.length - 1;
    else return;
    event.preventDefault();
    if (number >= 0 && number < this.items.length) this.bring(number);
  }

  bring(number) {
    const top = this.topOf(number);
    const height = this.size("--tile-height");
    if (top < window.scrollY || top + height + 80 > window.scrollY + window.innerHeight) {
      window.scrollTo(0, Math.max(0, top - window.innerHeight / 3));
    }
    this.update();
    this.shown.get(number)?.querySelector("button")?.focus({ preventScroll: true });
  }
}
