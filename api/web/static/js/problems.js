// What a refusal of the API says (RFC 9457), as one text for people.
export const UNREACHABLE = "The server cannot be reached.";

export function reason(status, problem) {
  if (!problem?.detail) return `The server answered ${status}.`;
  const fields = (problem.errors ?? []).map((error) => error.detail).filter((detail) => !problem.detail.includes(detail));
  return [problem.detail, ...fields].join(" ");
}

// The answer's document. Throws an error whose message is for the visitor.
export async function getJson(address) {
  let answer;
  let body;
  try {
    answer = await fetch(address, { headers: { Accept: "application/json" } });
    body = await answer.json();
  } catch {
    throw new Error(answer ? reason(answer.status) : UNREACHABLE);
  }
  if (answer.ok) return body;
  if (answer.status === 401) {
    window.location.reload(); // the login leads back here
    return new Promise(() => {}); // nothing of what would come next is to be seen
  }
  throw new Error(reason(answer.status, body));
}
