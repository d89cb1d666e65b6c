// Short messages in the corner, read out by screen readers; they go by themselves.
const SHOWN_MS = 6_000;

export function toast(text, kind = "") {
  const place = document.getElementById("toasts");
  if (!place) return;
  const message = document.createElement("p");
  message.className = `toast ${kind}`;
  message.textContent = text;
  place.append(message);
  setTimeout(() => message.remove(), SHOWN_MS);
}
