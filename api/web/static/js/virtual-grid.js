// A grid of any number of items of which only those in sight are in the document.
//
// Items come from `more(after, wanted)` → {items, next} as the visitor nears the end, and are drawn by
// `make(item, element)`; `next` is the `after` of the following page, null at the end. Where `more` throws, the grid is
// "failed", `failure` says why, and `retry()` goes on. `changed()` is told of every page, end and failure.
//
// Columns follow the width; tiles have the size that the style sheet gives to --tile-width and --tile-height. The page
// itself scrolls, so that keyboards, wheels and fingers work as anywhere. Whenever that size or the width changes, the
// first item in sight stays the first one, and the tile with the focus stays in sight.
//
// Tab reaches one tile, arrows the others (WAI-ARIA Authoring Practices, "roving tabindex"): thousands of tiles are not
// thousands of stops on the way to what follows them.
import { Covers } from "./covers.js";

const SPARE_ROWS = 3;
const AHEAD_SCREENS = 3;
const CONTROLS = "button, input";

export class VirtualGrid {
  constructor(element, { make, more, changed, above = [], below = [] }) {
    Object.assign(this, { element, make, more, changed, covers: new Covers(above, below) });
    this.shown = new Map(); // number of the item → its element
    this.epoch = 0;
    this.empty(null);
    const update = () => {
      this.waiting ??= requestAnimationFrame(() => {
        this.waiting = null;
        this.update();
      });
    };
    window.addEventListener("scroll", update, { passive: true });
    window.addEventListener("resize", update);
    new ResizeObserver(update).observe(element);
    element.addEventListener("keydown", (event) => this.move(event));
    element.addEventListener("focusin", (event) => {
      this.current = Number(event.target.closest("[data-number]").dataset.number);
      this.letTabReach();
    });
  }

  // `target`: number of the item to begin at, once so many have come; null for the top.
  restart(target = null) {
    this.epoch += 1;
    for (const element of this.shown.values()) element.remove();
    this.shown.clear();
    this.empty(target);
    this.update();
  }

  empty(target) {
    this.items = [];
    this.state = "more"; // or "end" or "failed"
    this.failure = "";
    this.next = null;
    this.loading = false;
    this.total = null;
    this.target = target;
    this.layout = null;
    this.first = 0; // number of the first item in sight
    this.current = 0; // number of the tile that Tab reaches
    this.focusInSight = false;
  }

  // How many items there are on all pages, where somebody knows.
  setTotal(total) {
    this.total = total;
    this.letTell();
  }

  // Have `draw(item, element)` change what the tiles show.
  redraw(draw) {
    for (const [number, element] of this.shown) draw(this.items[number], element);
    this.update();
  }

  focus(wanted) {
    const number = this.items.findIndex(wanted);
    if (number >= 0) this.bring(number);
  }

  async retry() {
    if (this.state !== "failed" || this.loading) return;
    this.state = "more";
    await this.load();
  }

  measure() {
    const style = getComputedStyle(this.element);
    const tile = parseFloat(style.getPropertyValue("--tile-width"));
    const columns = Math.max(1, Math.floor(this.element.clientWidth / tile));
    return {
      columns,
      width: this.element.clientWidth / columns,
      height: parseFloat(style.getPropertyValue("--tile-height")),
    };
  }

  top() {
    return this.element.getBoundingClientRect().top + window.scrollY;
  }

  // Where the page is scrolled to when the item is in the first row in sight.
  scrollFor(number) {
    return this.top() + Math.floor(number / this.layout.columns) * this.layout.height - this.covers.above();
  }

  isInSight(number) {
    const above = window.scrollY - this.scrollFor(number);
    const seen = window.innerHeight - this.covers.above() - this.covers.below();
    return above < 1 && above + seen > this.layout.height - 1;
  }

  focused() {
    const cell = document.activeElement?.closest("[data-number]");
    return cell && this.element.contains(cell) ? Number(cell.dataset.number) : null;
  }

  update() {
    const before = this.layout;
    this.layout = this.measure();
    const { columns, height } = this.layout;
    const rows = Math.ceil(this.items.length / columns);
    this.element.style.height = `${(rows + (this.state === "end" ? 0 : 1)) * height}px`;
    if (before && (before.columns !== columns || before.height !== height)) this.keepPlace();
    this.goToTarget();
    this.fill();
    const row = Math.max(0, Math.round((window.scrollY + this.covers.above() - this.top()) / height));
    // Within the row it stays the item that it was: a narrower grid and a wider one again must not move it.
    if (Math.floor(this.first / columns) !== row) this.first = Math.max(0, Math.min(row * columns, this.items.length - 1));
    const focused = this.focused();
    this.focusInSight = focused !== null && this.isInSight(focused);
    this.letTabReach();
    this.letTell();
    const bottom = window.scrollY + (1 + AHEAD_SCREENS) * window.innerHeight;
    const near = this.target !== null || this.top() + rows * height < bottom;
    if (this.state === "more" && !this.loading && near) this.load();
  }

  keepPlace() {
    if (this.first > 0) window.scrollTo(0, this.scrollFor(this.first));
    const focused = this.focused();
    if (this.focusInSight && !this.isInSight(focused)) this.scrollTo(focused);
  }

  goToTarget() {
    if (this.target === null || (this.state === "more" && this.items.length < this.needed())) return;
    if (this.state === "failed") return; // another try goes on from here
    this.first = Math.max(0, Math.min(this.target, this.items.length - 1));
    window.scrollTo(0, this.scrollFor(this.first));
    this.target = null;
  }

  // So many items that the one to begin at can be scrolled to the top.
  needed() {
    return this.target + this.layout.columns * Math.ceil(window.innerHeight / this.layout.height);
  }

  fill() {
    const { columns, height } = this.layout;
    const row = Math.max(0, Math.floor((window.scrollY - this.top()) / height) - SPARE_ROWS);
    const rows = Math.ceil(window.innerHeight / height) + 2 * SPARE_ROWS + 1;
    const first = row * columns;
    const last = Math.min(this.items.length, first + rows * columns);
    for (const [number, element] of this.shown) {
      if (number >= first && number < last) continue;
      if (element.contains(document.activeElement)) continue; // focus must not vanish under the visitor
      element.remove();
      this.shown.delete(number);
    }
    for (let number = first; number < last; number += 1) if (!this.shown.has(number)) this.put(number);
    for (const [number, element] of this.shown) this.lay(number, element);
  }

  put(number) {
    const element = document.createElement("div");
    element.setAttribute("role", "listitem");
    element.ariaPosInSet = String(number + 1);
    element.className = "cell";
    element.dataset.number = number;
    this.make(this.items[number], element);
    // The order in the document is what screen readers and Tab follow: that of the eye.
    const following = [...this.element.children].find((other) => Number(other.dataset.number) > number);
    this.element.insertBefore(element, following ?? null);
    this.shown.set(number, element);
  }

  lay(number, element) {
    const { columns, width, height } = this.layout;
    element.style.width = `${width}px`;
    element.style.height = `${height}px`;
    element.style.transform = `translate(${(number % columns) * width}px, ${Math.floor(number / columns) * height}px)`;
  }

  letTabReach() {
    const reached = this.shown.has(this.current) ? this.current : Math.max(this.first, Math.min(...this.shown.keys()));
    for (const [number, element] of this.shown) {
      const index = number === reached ? 0 : -1;
      for (const control of element.querySelectorAll(CONTROLS)) if (control.tabIndex !== index) control.tabIndex = index;
    }
  }

  letTell() {
    const size = String(this.state === "end" ? this.items.length : (this.total ?? -1)); // -1: nobody knows (WAI-ARIA 1.2)
    for (const element of this.shown.values()) if (element.ariaSetSize !== size) element.ariaSetSize = size;
  }

  async load() {
    const epoch = this.epoch;
    this.loading = true;
    this.element.setAttribute("aria-busy", "true");
    const wanted = this.target === null ? 0 : this.needed() - this.items.length;
    let page = null;
    let failure = "";
    try {
      page = await this.more(this.next, wanted);
    } catch (error) {
      failure = error.message;
    }
    if (epoch !== this.epoch) return;
    this.loading = false;
    this.element.removeAttribute("aria-busy");
    this.failure = failure;
    if (page === null) {
      this.state = "failed";
    } else {
      this.items.push(...page.items);
      this.next = page.next;
      this.state = page.next === null ? "end" : "more";
    }
    this.update();
    this.changed();
  }

  // Arrow keys move between tiles, Home and End to the first and the last one loaded.
  move(event) {
    const cell = event.target.closest("[data-number]");
    const { columns } = this.layout;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    let number = Number(cell.dataset.number);
    if (event.key in steps) number += steps[event.key];
    else if (event.key === "Home") number = 0;
    else if (event.key === "End") number = this.items.length - 1;
    else return;
    event.preventDefault();
    if (number >= 0 && number < this.items.length) this.bring(number, event.target.localName);
  }

  scrollTo(number) {
    window.scrollTo(0, Math.max(0, this.scrollFor(number) - window.innerHeight / 3));
  }

  bring(number, control = "button") {
    if (!this.isInSight(number)) this.scrollTo(number);
    this.update();
    this.shown.get(number)?.querySelector(control)?.focus({ preventScroll: true });
  }
}
