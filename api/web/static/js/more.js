// Where a list went on after a click, the focus goes to the first of what came: the button that had it is gone.
document.addEventListener("htmx:beforeSwap", (event) => {
  const part = event.detail.target;
  if (!part.matches(".more") || !event.detail.shouldSwap) return;
  const list = part.parentElement;
  const last = part.previousElementSibling;
  document.addEventListener(
    "htmx:afterSwap",
    () => {
      const first = last ? last.nextElementSibling : list.firstElementChild;
      if (first) focus(first);
    },
    { once: true },
  );
});

// A row has a link to go on from; a picture has not.
function focus(item) {
  let place = item.querySelector("a");
  if (!place) {
    place = item;
    item.tabIndex = -1;
    item.addEventListener("blur", () => item.removeAttribute("tabindex"), { once: true });
  }
  place.focus({ preventScroll: true });
}
