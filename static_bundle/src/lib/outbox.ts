/**
 * What I wrote and nobody has yet: drafts, and letters on their way to the server. The tab keeps
 * both, so that a reload neither loses nor doubles one.
 */
import { ApiError, type Message } from "./api";
import type { Outgoing, TimelineHooks, TimelineMessage, TimelineServer } from "./messages";

const RETRIES = [1000, 2000, 4000, 8000, 16_000] as const;
/** How long a message waits for the one before it. */
const PATIENCE = 10_000;
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
    return this.#letters.map(({ message }) => message);
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
  settle({ client_message_id }: Message): boolean {
    return this.discard(client_message_id) !== undefined;
  }

  retryNow(): void {
    for (const letter of [...this.#letters]) {
      if (letter.state === "retrying") void this.#post(letter);
    }
    this.#pump();
  }

  /** The message as it waits again, now the last one. */
  retry(id: string): TimelineMessage | undefined {
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
    const letter = this.#take(id);
    if (letter) this.#keep(id, "");
    return letter?.html;
  }

  /** Nobody is looking any more: what is under way goes on, the rest waits in the tab. */
  close(): void {
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
  return error.status >= 500 || [408, 425, 429].includes(error.status);
}
