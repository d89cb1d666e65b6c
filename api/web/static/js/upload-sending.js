// Sending one file resumably (tus 1.0). What has arrived stays, however often the line breaks, the page is closed or the
// server refuses what is to be made of it: the browser keeps the upload's address with the file until `forget()`.
import { csrfHeaders } from "./csrf.js";
import { reason } from "./problems.js";

const RETRY_MS = [0, 500, 1000, 2000, 4000, 8000, 8000, 8000];

export class Sending {
  // `progressed(sent, total)` in bytes; `lost()`: the line broke, it tries again; `broke(text, isLine)`: it gave up.
  constructor(file, { progressed, lost, broke, finished }) {
    this.file = file;
    this.isFinished = false;
    this.upload = new window.tus.Upload(file, {
      endpoint: "/v1/uploads",
      headers: csrfHeaders(),
      metadata: { filename: file.name },
      retryDelays: RETRY_MS,
      onProgress: progressed,
      onShouldRetry(failure) {
        const status = failure.originalResponse?.getStatus() ?? 0;
        if (status >= 400 && status < 500 && status !== 409 && status !== 423) return false;
        lost();
        return true;
      },
      onError(failure) {
        const answer = failure.originalResponse;
        broke(answer ? explain(answer) : "The connection was lost.", !answer);
      },
      onSuccess: () => {
        this.isFinished = true;
        finished();
      },
    });
  }

  get address() {
    return this.upload.url;
  }

  get id() {
    return this.address.split("/").pop();
  }

  get hasBegun() {
    return this.upload.url !== null;
  }

  // Begin, or go on from where it was, also where an earlier page was.
  async go() {
    if (!this.hasBegun) {
      const [previous] = await this.upload.findPreviousUploads();
      if (previous) this.upload.resumeFromPreviousUpload(previous);
    }
    this.upload.start();
  }

  async hold() {
    await this.upload.abort();
  }

  // Also what has arrived.
  async discard() {
    await this.forget();
    await this.upload.abort(true).catch(() => {}); // it expires
  }

  async forget() {
    for (const { uploadUrl, urlStorageKey } of await this.upload.findPreviousUploads()) {
      if (uploadUrl === this.upload.url) await this.upload.options.urlStorage.removeUpload(urlStorageKey);
    }
  }
}

function explain(answer) {
  let problem = null;
  try {
    problem = JSON.parse(answer.getBody());
  } catch {
    // Not ours, but a proxy's: the status has to do.
  }
  return reason(answer.getStatus(), problem);
}
