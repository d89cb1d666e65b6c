// Images picked one by one: kept for this job as long as the browser's tab is open, whatever the filters show.
import { toast } from "./toast.js";

const MOST = 500; // as many as the API lets be named

export class Picks {
  constructor(bar, { job, base, changed }) {
    Object.assign(this, { bar, base, changed, only: false });
    this.key = `picked:${job}`;
    this.indices = new Set(stored(this.key));
    bar.querySelector("[data-picked-clear]").addEventListener("click", () => this.clear());
    bar.querySelector("[data-picked-only]").addEventListener("click", () => {
      this.only = !this.only;
      this.show();
      this.changed(true);
    });
    this.show();
  }

  // What the list is to stay with: null for all.
  get wanted() {
    return this.only ? this.sorted() : null;
  }

  has(index) {
    return this.indices.has(index);
  }

  toggle(index) {
    if (!this.indices.delete(index)) {
      if (this.indices.size === MOST) {
        toast(`At most ${MOST} images can be picked. Use filters to export more.`, "bad");
        return;
      }
      this.indices.add(index);
    }
    this.keep();
  }

  clear() {
    this.indices.clear();
    this.keep();
  }

  keep() {
    sessionStorage.setItem(this.key, JSON.stringify(this.sorted()));
    const wasOnly = this.only;
    this.only &&= this.indices.size > 0;
    this.show();
    this.changed(wasOnly && !this.only);
  }

  sorted() {
    return [...this.indices].sort((a, b) => a - b);
  }

  show() {
    const count = this.indices.size;
    this.bar.hidden = !count;
    this.bar.querySelector("[data-picked-count]").textContent = `${count} image${count === 1 ? "" : "s"} picked`;
    this.bar.querySelector("[data-picked-only]").setAttribute("aria-pressed", String(this.only));
    for (const link of this.bar.querySelectorAll("[data-picked-export]")) {
      const query = new URLSearchParams({ format: link.dataset.pickedExport, indices: this.sorted().join(",") });
      link.href = `${this.base}/export?${query}`;
    }
  }
}

function stored(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "[]").filter(Number.isInteger);
  } catch {
    return [];
  }
}
