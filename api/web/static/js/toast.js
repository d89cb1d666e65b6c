// Short messages in the corner, read out by screen readers; they go by themselves.
const SHOWN_MS = 6_000;
const ends = new WeakMap();

export function toast(text, kind = "") {
  // A modal dialog makes everything outside of it inert: a message there would be neither seen nor heard.
  const place = document.querySelector("dialog[open] .toasts") ?? document.querySelector("body > .toasts");
  if (!place) return;
  // What is asked for every few seconds fails every few seconds; that is one message, not many.
  let message = [...place.children].find((shown) => shown.textContent === text);
  if (!message) {
    message = document.createElement("p");
    message.textContent = text;
    place.append(message);
  }
  message.className = `toast ${kind}`;
  clearTimeout(ends.get(message));
  ends.set(
    message,
    setTimeout(() => message.remove(), SHOWN_MS),
  );
}
