/** What can go wrong when the server is asked, and the one sentence that a person reads about it. */

/** Why a field was refused, by its name. */
export type Fields = Readonly<Record<string, readonly string[]>>;

export interface ErrorDetail {
  code?: string;
  message?: string;
  fields?: Fields;
  redirect_to?: string;
}

export const NO_NETWORK = "Campfire can’t be reached. Check your connection and try again.";
export const ROOM_GONE = "That room is gone, or closed to you.";
const UNREADABLE = "That picture could not be read. Try a JPEG, PNG, GIF or WebP.";
const BROKEN = "Something broke on our side. Try again in a moment.";

/** Refusals that are about one field, though they have a code of their own. */
const REASONS: Record<string, Fields> = { email_taken: { email_address: ["is somebody else’s"] } };

/** What the server says to programs, said to people. */
const WORDS: Record<string, string> = {
  banned_ip: "Campfire does not let you in right now. Try again in a few minutes.",
  internal_error: BROKEN,
  attachment_not_editable: "You can’t edit a file. Delete it and send another.",
  invalid_credentials: "That e-mail and password don’t match.",
  picture_unreadable: UNREADABLE,
  room_not_found: ROOM_GONE,
  storage_full: "This server has no room for more files. Tell an administrator.",
};

/** The server answered, and the answer is no. `message` is a sentence for people. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly fields: Fields;
  readonly redirectTo: string | null;
  /** What Retry-After said, in milliseconds. */
  readonly retryAfter: number | null;

  constructor(status: number, detail: ErrorDetail, retryAfter: number | null = null) {
    super(wordsFor(status, detail, retryAfter));
    this.name = "ApiError";
    this.status = status;
    this.code = detail.code ?? "internal_error";
    this.fields = detail.fields ?? REASONS[this.code] ?? {};
    this.redirectTo = detail.redirect_to ?? null;
    this.retryAfter = retryAfter;
  }
}

/** What an answer that is no says. */
export async function refusal(response: Response): Promise<ApiError> {
  const seconds = Number(response.headers.get("Retry-After") ?? Number.NaN);
  const retryAfter = Number.isFinite(seconds) ? seconds * 1000 : null;
  try {
    const { error } = (await response.json()) as { error?: ErrorDetail };
    return new ApiError(response.status, error ?? {}, retryAfter);
  } catch {
    return new ApiError(response.status, {}, retryAfter);
  }
}

/** Nobody answered in time: the network, or the server, is away. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";

  constructor(cause?: unknown) {
    super(NO_NETWORK, { cause });
  }
}

/** What the server left for the next page to say, in our words where it has Rails' own. */
export const alertIn = (alert: string): string =>
  alert === "Room not found or inaccessible" ? ROOM_GONE : alert;

function wordsFor(status: number, { code, message }: ErrorDetail, wait: number | null): string {
  if (status === 429 && wait) return `Too many tries. Try again in ${minutes(wait)}.`;
  const words = WORDS[code ?? ""] ?? message;
  if (words) return words;
  // Not in our form: a proxy answered, and its own words are for whoever runs it.
  return status >= 500 ? BROKEN : "That didn’t work. Reload the page and try again.";
}

function minutes(ms: number): string {
  const count = Math.ceil(ms / 60_000);
  return count === 1 ? "a minute" : `${count} minutes`;
}

/** What a person is told: never the browser's own words, nor those of a mistake in this client. */
export function sentenceOf(problem: unknown): string {
  if (problem instanceof ApiError || problem instanceof NetworkError) return problem.message;
  reportError(problem);
  return "Something broke on this page. Reload it and try again.";
}

/** What comes later, asked for until it is there, ever more rarely. */
export const insisted = <T>(load: () => Promise<T>, wait = 2000): Promise<T> =>
  load().catch(async () => {
    await new Promise((done) => setTimeout(done, wait));
    return insisted(load, wait * 2);
  });

// --- Pictures that did not come -----------------------------------------------------------------

/** Says "back" when there is a connection again. */
export const returns = new EventTarget();

/** No browser asks a second time for a picture that it did not get while there was no connection. */
export function askAgainForPictures(): void {
  for (const picture of document.images)
    if (picture.complete && !picture.naturalWidth) picture.setAttribute("src", picture.src);
  returns.dispatchEvent(new Event("back"));
}
