// Images picked one by one, whatever the filters show. They stand in the address, so that they can be passed on, and are
// kept for this job as long as the browser's tab is open.
import { MOST_PICKED, numbers } from "./sample-state.js";
import { toast } from "./toast.js";

const MOST_IN_REPORT = 60; // as many as the API puts into one

export class Picks {
  // `given`: those in the address; `fromElsewhere`: the address was not made here, but followed or typed in.
  constructor(bar, { job, base, given, only, fromElsewhere, changed }) {
    Object.assign(this, { bar, job, base, changed });
    this.key = `picked:${job}`;
    const kept = stored(this.key);
    this.indices = new Set((fromElsewhere && given.length) || kept === null ? given : kept);
    this.only = only && this.indices.size > 0;
    bar.querySelector("[data-picked-clear]").addEventListener("click", () => this.clear());
    bar.querySelector("[data-picked-only]").addEventListener("click", () => {
      this.only = !this.only;
      this.show();
      this.changed(true);
    });
    store(this.key, this.sorted());
    this.show();
  }

  has(index) {
    return this.indices.has(index);
  }

  toggle(index) {
    if (!this.indices.delete(index)) {
      if (this.indices.size === MOST_PICKED) {
        toast(`At most ${MOST_PICKED} images can be picked. Use filters to export more.`, "bad");
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
    store(this.key, this.sorted());
    const wasOnly = this.only;
    this.only &&= this.indices.size > 0;
    this.show();
    this.changed(wasOnly && !this.only);
  }

  setOnly(only) {
    this.only = only && this.indices.size > 0;
    this.show();
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
    const report = this.bar.querySelector("[data-picked-report]");
    if (!report) return;
    const tooMany = count > MOST_IN_REPORT;
    report.hidden = tooMany;
    report.href = `/jobs/${this.job}/report?${this.sorted().map((index) => `sample=${index}`).join("&")}`;
    this.bar.querySelector("[data-picked-too-many]").hidden = !tooMany;
  }
}

function stored(key) {
  try {
    const kept = sessionStorage.getItem(key);
    return kept === null ? null : numbers(kept);
  } catch {
    return null; // Storage may be switched off; then they stand in the address alone.
  }
}

function store(key, indices) {
  try {
    sessionStorage.setItem(key, indices.join(","));
  } catch {
    // As above.
  }
}
