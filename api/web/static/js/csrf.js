// The token that every request which changes something must repeat.
export function csrfHeaders() {
  return { "X-CSRF-Token": document.body.dataset.csrf };
}
