// Requests to the server, and its errors in words.

/** API key that is sent along, if there is one. */
let key = "";

export function useKey(text) {
  key = text;
}

/** An error in words for people; `key` when the server asks for an API key. */
export class Refused extends Error {
  constructor(text, status, retry) {
    super(text);
    Object.assign(this, { status, retry });
  }
}

/** Sends a request; every failure is a `Refused`. */
export async function ask(path, options = {}) {
  const headers = { accept: "application/json", ...options.headers };
  if (key) headers.authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch {
    throw new Refused("The server cannot be reached. Is it still running?", 0);
  }
  const text = await response.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // An error of something in between, which says nothing in JSON.
  }
  if (response.ok && body !== null) return { body, timing: response.headers.get("server-timing") };
  const wait = Number(response.headers.get("retry-after")) || 1;
  throw new Refused(words(response.status, reason(body)), response.status, wait);
}

/** The server's own words, from `{"error": "..."}` or `{"error": {"message": "..."}}`. */
export function reason(body) {
  const error = Array.isArray(body) ? body[0]?.error : body?.error;
  return typeof error === "string" ? error : (error?.message ?? "");
}

export function words(status, text) {
  const said = text ? ` (${text})` : "";
  switch (status) {
    case 401: return "This server asks for an API key.";
    case 404: return `This model is not served any more${said}. Reload the page.`;
    case 408: return "The upload took too long.";
    case 413: return `The photo is too large for this server${said}.`;
    case 429: return "The server is busy. Try again in a moment.";
    case 500: return `The network failed${said}.`;
    case 503: return `The server is not ready, or is stopping${said}.`;
    case 504: return "The server took too long to answer. Try again.";
    default: return text ? `This cannot be classified: ${text}` : `The server answered with status ${status}.`;
  }
}
