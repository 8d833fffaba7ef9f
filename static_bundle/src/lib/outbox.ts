/**
 * What I wrote and nobody has yet: drafts, letters and files on their way to the server. The tab
 * keeps drafts and letters, so that a reload neither loses nor doubles one; files it cannot keep.
 */
import { ApiError, type Message, mended, NetworkError, token } from "./api";
import { stillOf } from "./browser";
import {
  forgetPicture,
  type Going,
  type Outgoing,
  type TimelineHooks,
  type TimelineMessage,
  type TimelineServer,
} from "./messages";
import { announce, flash, getState, type Observable } from "./store";
import { emptyFile, largeFile } from "./text";
import { refusal } from "./trouble";

const RETRIES = [1000, 2000, 4000, 8000, 16_000] as const;
/** How long a message waits for the one before it. */
const PATIENCE = 10_000;
/** How long nothing may be heard of a file that goes up; the server waits less. */
const STALLED = 90_000;
const KEPT_FOR = 7 * 24 * 60 * 60 * 1000;
/** A letter older than this is not sent by itself: nobody expects it any more. */
const FRESH = 5 * 60 * 1000;

// --- What the tab keeps -------------------------------------------------------------------------

interface Kept {
  html: string;
  at: number;
  /** Who wrote it: a letter is never sent in another's name. */
  by?: number;
}

function read(key: string): Kept | null {
  try {
    const kept = JSON.parse(sessionStorage.getItem(key) ?? "{}");
    return typeof kept.html === "string" && Date.now() - kept.at < KEPT_FOR ? kept : null;
  } catch {
    return null;
  }
}

function write(key: string, html: string, by?: number): void {
  try {
    if (html === "") sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, JSON.stringify({ html, at: Date.now(), by }));
  } catch {
    // Full, or forbidden: the text is still on the screen, which is all a draft can promise.
  }
}

const words = (key: string) => read(key)?.html ?? "";

// --- Sending ------------------------------------------------------------------------------------

interface Letter {
  message: TimelineMessage;
  /** As it was written, for the editor; and as it is sent. */
  html: string;
  body: string;
  state: "waiting" | "posting" | "retrying" | "failed";
  attempt: number;
  since: number;
  timer?: ReturnType<typeof setTimeout> | undefined;
}

interface OutboxOptions {
  room_id: number;
  /** Whose letters they are. */
  by: number;
  server: TimelineServer;
  hooks: TimelineHooks;
  now: () => number;
  confirmed(message: Message): void;
  changed(id: string, outgoing: Outgoing): void;
}

/**
 * One person's words for one room. Messages on their way go in order, each under the id the server
 * will know it by: one waits for the one before it, but not for ever.
 */
export class Outbox {
  readonly #with: OutboxOptions;
  #letters: Letter[] = [];
  #closed = false;

  constructor(options: OutboxOptions) {
    this.#with = options;
    uploads.watch(options);
  }

  // --- What the tab keeps ---

  /** What to start the editor with: what was taken back, then what was being written. */
  draft(): string {
    const html = words(this.#key("unsent")) + words(this.#key("draft"));
    write(this.#key("unsent"), "");
    this.keepDraft(html);
    return html;
  }

  keepDraft(html: string): void {
    write(this.#key("draft"), html);
  }

  /** The letters of an earlier page, in the order they were written. */
  kept(): (Kept & { id: string; fresh: boolean })[] {
    const letter = this.#key("letter", "");
    return Object.keys(sessionStorage)
      .filter((key) => key.startsWith(letter))
      .flatMap((key) => {
        const kept = read(key);
        if (kept?.by !== this.#with.by) return [];
        return [{ ...kept, id: key.slice(letter.length), fresh: Date.now() - kept.at < FRESH }];
      })
      .sort((a, b) => a.at - b.at);
  }

  #keep(id: string, html: string): void {
    write(this.#key("letter", id), html, this.#with.by);
  }

  #key(kind: "draft" | "unsent" | "letter", id?: string): string {
    return [kind, this.#with.room_id, ...(id === undefined ? [] : [id])].join(":");
  }

  // --- What is on its way ---

  messages(): TimelineMessage[] {
    const letters = this.#letters.map(({ message }) => message);
    return [...uploads.of(this.#with.room_id), ...letters];
  }

  /** Takes a letter, which `post` sends. One that failed waits for its writer. */
  add(message: TimelineMessage, html: string, body: string): void {
    const state = message.outgoing?.state === "failed" ? "failed" : "waiting";
    this.#letters.push({ message, html, body, state, attempt: 0, since: this.#with.now() });
  }

  /** Keeps a new letter before anything else happens to it, and sends it. */
  send(message: TimelineMessage, html: string, body: string): void {
    this.#keep(message.client_message_id, html);
    this.add(message, html, body);
    this.#pump();
  }

  /** True when `message` is one of mine that the server was not known to have. */
  settle(message: Message): boolean {
    return uploads.settle(message) || this.discard(message.client_message_id) !== undefined;
  }

  retryNow(): void {
    uploads.retryNow();
    for (const letter of [...this.#letters]) {
      if (letter.state === "retrying") void this.#post(letter);
    }
    this.#pump();
  }

  /** The message as it waits again, now the last one. */
  retry(id: string): TimelineMessage | undefined {
    const file = uploads.retry(id);
    if (file) return file;
    const letter = this.#take(id);
    if (!letter) return undefined;
    const again: Letter = { ...letter, state: "waiting", attempt: 0, since: this.#with.now() };
    this.#letters.push(again);
    this.#mark(again, "pending");
    this.#pump();
    return again.message;
  }

  /** What was written, which is the caller's from now on. */
  discard(id: string): string | undefined {
    uploads.discard(id);
    const letter = this.#take(id);
    if (letter) this.#keep(id, "");
    return letter?.html;
  }

  /** Nobody is looking any more: what is under way goes on, the rest waits in the tab. */
  close(): void {
    uploads.unwatch(this.#with);
    this.#closed = true;
    for (const { timer } of this.#letters) clearTimeout(timer);
  }

  #take(id: string): Letter | undefined {
    const letter = this.#letters.find(({ message }) => message.client_message_id === id);
    if (!letter) return undefined;
    clearTimeout(letter.timer);
    this.#letters = this.#letters.filter((other) => other !== letter);
    this.#pump();
    return letter;
  }

  #pump(): void {
    let blocked = false;
    for (const letter of [...this.#letters]) {
      const waited = this.#with.now() - letter.since;
      if (letter.state === "waiting" && (!blocked || waited >= PATIENCE)) void this.#post(letter);
      else if (letter.state === "waiting" && !letter.timer) {
        letter.timer = setTimeout(() => this.#pump(), PATIENCE - waited);
      }
      if (letter.state !== "failed") blocked = true;
    }
  }

  async #post(letter: Letter): Promise<void> {
    clearTimeout(letter.timer);
    letter.state = "posting";
    const id = letter.message.client_message_id;
    try {
      const { message } = await this.#with.server.create(id, letter.body);
      if (this.discard(id) !== undefined) this.#with.confirmed(message);
    } catch (error) {
      if (this.#letters.includes(letter)) this.#failed(letter, error);
    }
  }

  #failed(letter: Letter, error: unknown): void {
    const id = letter.message.client_message_id;
    if (error instanceof ApiError && error.status === 401) {
      // Whoever signs in next decides what becomes of it. Kept apart, so that the editor's own
      // saving on the way out cannot overwrite it.
      const unsent = this.#key("unsent");
      write(unsent, words(unsent) + (this.discard(id) ?? ""));
      return;
    }
    if (this.#closed) {
      this.#take(id);
      return;
    }
    const wait = RETRIES[letter.attempt];
    if (wait !== undefined && mayRetry(error)) {
      letter.attempt += 1;
      letter.state = "retrying";
      const asked = error instanceof ApiError ? (error.retryAfter ?? 0) : 0;
      letter.timer = setTimeout(() => void this.#post(letter), Math.max(wait, asked));
      this.#mark(letter, "retrying");
      if (letter.attempt === 1) this.#with.hooks.say("Not sent yet, trying again", "polite");
      return;
    }
    letter.state = "failed";
    const refused = error instanceof ApiError && !mayRetry(error);
    // A server that is out of order says how: its disk is full, or somebody else holds its file.
    const said = refused || (error instanceof ApiError && error.status === 503);
    this.#mark(letter, "failed", said ? error.message : null);
    this.#with.hooks.say("Your message was not sent", "assertive");
    if (refused && (error.status === 403 || error.status === 404)) this.#with.hooks.refused();
    this.#pump();
  }

  #mark(letter: Letter, state: Outgoing["state"], reason: string | null = null): void {
    const outgoing = { state, attempt: letter.attempt, reason };
    letter.message = { ...letter.message, outgoing };
    this.#with.changed(letter.message.client_message_id, outgoing);
  }
}

/** Nobody answered, or not for a reason that lies in the message. */
function mayRetry(error: unknown): boolean {
  if (!(error instanceof ApiError)) return true;
  if ([501, 507].includes(error.status)) return false;
  return error.status >= 500 || [408, 425, 429].includes(error.status);
}

// --- Files --------------------------------------------------------------------------------------

type Sent = TimelineMessage & { going: Observable<Going> };

interface Parcel extends Pick<Letter, "state" | "attempt" | "timer"> {
  message: Sent;
  stop?: () => void;
}

type Watcher = Pick<OutboxOptions, "room_id" | "hooks" | "confirmed" | "changed">;

/** Files for all rooms, one at a time. They go on, whichever room is on the screen. */
class Uploads {
  #parcels: Parcel[] = [];
  readonly #watchers = new Set<Watcher>();

  constructor() {
    // Whichever page is on the screen then.
    addEventListener("online", () => this.retryNow());
  }

  watch(watcher: Watcher): void {
    this.#watchers.add(watcher);
  }

  unwatch(watcher: Watcher): void {
    this.#watchers.delete(watcher);
  }

  of(room_id: number): TimelineMessage[] {
    return this.#parcels.map(({ message }) => message).filter((m) => m.room_id === room_id);
  }

  send(messages: readonly Sent[]): void {
    for (const message of messages) this.#add({ message, state: "waiting", attempt: 0 });
  }

  /** True when `message` is one of these; its answer will then be no news. */
  settle(message: Message): boolean {
    const parcel = this.#take(message.client_message_id);
    if (!parcel) return false;
    const { file, box } = parcel.message.going.state();
    announce(`${file.name} sent`);
    // An image stays in its box until the server's own has come.
    if (!box) forgetPicture(parcel.message.going);
    return true;
  }

  retry(id: string): TimelineMessage | undefined {
    const parcel = this.#take(id);
    if (!parcel) return undefined;
    const again: Parcel = { message: parcel.message, state: "waiting", attempt: 0 };
    this.#mark(again, "pending");
    this.#add(again);
    return again.message;
  }

  /** The network is back: what waits for it need not wait on. */
  retryNow(): void {
    for (const parcel of this.#parcels) if (parcel.state === "retrying") void this.#post(parcel);
  }

  discard(id: string): void {
    const parcel = this.#take(id);
    parcel?.stop?.();
    if (parcel) forgetPicture(parcel.message.going);
  }

  /** While there is one, leaving the page is asked about: it would be lost. */
  #add(parcel: Parcel): void {
    this.#parcels.push(parcel);
    addEventListener("beforeunload", ask);
    this.#pump();
  }

  #take(id: string): Parcel | undefined {
    const parcel = this.#parcels.find(({ message }) => message.client_message_id === id);
    if (!parcel) return undefined;
    clearTimeout(parcel.timer);
    this.#parcels = this.#parcels.filter((other) => other !== parcel);
    if (this.#parcels.length === 0) removeEventListener("beforeunload", ask);
    this.#pump();
    return parcel;
  }

  #pump(): void {
    const busy = ({ state }: Parcel) => state === "posting" || state === "retrying";
    const next = this.#parcels.find(({ state }) => state === "waiting");
    if (next && !this.#parcels.some(busy)) void this.#post(next);
  }

  async #post(parcel: Parcel): Promise<void> {
    clearTimeout(parcel.timer);
    parcel.state = "posting";
    const { going, room_id, client_message_id: id } = parcel.message;
    const { file } = going.state();
    going.change({ part: 0 });
    if (parcel.attempt === 0) announce(`Uploading ${file.name}`);
    try {
      const form = await formFor(id, file);
      if (!this.#parcels.includes(parcel)) return;
      const { answer, stop } = sendFile(room_id, form, (part) => going.change({ part }));
      parcel.stop = stop;
      const { message } = await answer;
      if (this.settle(message)) this.#tell(room_id, (watcher) => watcher.confirmed(message));
    } catch (error) {
      if (this.#parcels.includes(parcel)) this.#failed(parcel, error);
    }
  }

  #failed(parcel: Parcel, error: unknown): void {
    const { going, room_id } = parcel.message;
    const wait = RETRIES[parcel.attempt];
    const may = mayRetry(error) || (error as ApiError).code === "invalid_csrf_token";
    going.change({ part: null });
    if (wait !== undefined && may) {
      parcel.state = "retrying";
      // Without a network no try counts: it says itself when it is back.
      if (navigator.onLine) parcel.attempt += 1;
      const asked = error instanceof ApiError ? (error.retryAfter ?? 0) : 0;
      const again = () => void this.#post(parcel);
      if (navigator.onLine) parcel.timer = setTimeout(again, Math.max(wait, asked));
      this.#mark(parcel, "retrying");
      return;
    }
    parcel.state = "failed";
    const reason = reasonFor(error, going.state().file.name);
    this.#mark(parcel, "failed", reason);
    if (error instanceof ApiError && [403, 404].includes(error.status))
      this.#tell(room_id, ({ hooks }) => hooks.refused());
    announce("Your message was not sent", "assertive");
    // Where nobody sees the message, nobody sees why.
    if (![...this.#watchers].some((watcher) => watcher.room_id === room_id)) flash("alert", reason);
    this.#pump();
  }

  #mark(parcel: Parcel, state: Outgoing["state"], reason: string | null = null): void {
    const outgoing = { state, attempt: parcel.attempt, reason };
    parcel.message = { ...parcel.message, outgoing };
    const { room_id, client_message_id: id } = parcel.message;
    this.#tell(room_id, (watcher) => watcher.changed(id, outgoing));
  }

  #tell(room_id: number, tell: (watcher: Watcher) => void): void {
    for (const watcher of this.#watchers) if (watcher.room_id === room_id) tell(watcher);
  }
}

export const uploads = new Uploads();

const ask = (event: BeforeUnloadEvent) => event.preventDefault();

function reasonFor(error: unknown, name: string): string {
  if (!(error instanceof ApiError)) return "The upload stopped. Check your connection.";
  if (error.code === "file_blank") return emptyFile(name);
  if (error.status === 413) return largeFile(name, getState().features.max_file_bytes);
  return error.message;
}

/** The id comes first: of a file that is there already nothing is kept. */
async function formFor(client_message_id: string, file: File): Promise<FormData> {
  const form = new FormData();
  form.append("client_message_id", client_message_id);
  const { blob, ...measures } = (await stillOf(file)) ?? {};
  for (const [name, value] of Object.entries(measures)) form.append(name, String(value));
  if (blob) form.append("still", blob, "still.jpg");
  form.append("attachment", file, file.name);
  return form;
}

/** What `fetch` cannot do: telling how much of it is there. It answers as `fetch` does. */
function sendFile(room_id: number, form: FormData, gone: (part: number) => void) {
  const request = new XMLHttpRequest();
  let silence: ReturnType<typeof setTimeout> | undefined;
  const answer = new Promise<Response>((done, failed) => {
    const lost = () => {
      request.abort();
      failed(new NetworkError());
    };
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(lost, STALLED);
    };
    heard();
    request.upload.onprogress = ({ loaded, total }) => {
      heard();
      gone(total ? loaded / total : 0);
    };
    request.onerror = lost;
    request.onloadend = () => clearTimeout(silence);
    request.onload = () => {
      const wait = request.getResponseHeader("Retry-After");
      const headers: HeadersInit = wait ? { "Retry-After": wait } : {};
      done(new Response(request.responseText, { status: request.status, headers }));
    };
  }).then(async (response) => {
    if (response.ok) return (await response.json()) as { message: Message };
    const error = await refusal(response);
    await mended(error);
    throw error;
  });
  request.open("POST", `/api/rooms/${room_id}/messages`);
  request.setRequestHeader("Accept", "application/json");
  request.setRequestHeader("X-CSRF-Token", token());
  request.send(form);
  return { answer, stop: () => request.abort() };
}
