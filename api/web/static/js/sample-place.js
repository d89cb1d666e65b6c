// Where in the list the visitor was, kept with the entry of the browser's history, so that Back leads there again.
//
// The browser's own memory of it is no use here: when a page is opened again its list is still empty, and too short to
// be scrolled in.
const STILL_MS = 150; // no scrolling for so long is worth writing down; Safari allows a hundred writes in 30 s

export class Place {
  constructor(grid) {
    this.grid = grid;
    this.fromElsewhere = history.state === null; // the address was followed or typed in
    this.timer = 0;
    history.scrollRestoration = "manual";
    window.addEventListener(
      "scroll",
      () => {
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.keep(), STILL_MS);
      },
      { passive: true },
    );
  }

  // Write the place down, and with `address` that the same list is now under another one.
  keep(address = window.location.href) {
    clearTimeout(this.timer);
    const onItsWay = this.grid.target !== null;
    const place = onItsWay ? history.state : { first: this.grid.first, top: window.scrollY };
    history.replaceState(place, "", address);
  }

  // Another list: a new entry in the history.
  leave(address) {
    this.keep();
    history.pushState({ first: 0, top: window.scrollY }, "", address);
  }

  // Number of the item to begin the present entry's list at; null where it was not scrolled, only what is above it.
  arrive() {
    clearTimeout(this.timer);
    const { first, top } = history.state ?? {};
    if (first) return first;
    window.scrollTo(0, top ?? 0);
    return null;
  }
}
