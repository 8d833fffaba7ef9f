/**
 * One room's messages: which of them are on screen, in what order, and what became of those I wrote.
 * A message is known by its client message id, so the pending one, the answer to posting it and the
 * broadcast end as one, in any order. Knows no React: the view lends it the means to measure, render
 * and scroll.
 */
import {
  ApiError,
  type Boost,
  type Message,
  type MessagePage,
  NetworkError,
  type RoomPage,
  type Sound,
  type User,
} from "./api";
import { Inbox } from "./cable";
import type { RoomEvent, TimelineMessage, TimelineState } from "./messages";
import * as list from "./messages";
import { Outbox, uploads } from "./outbox";
import { Observable } from "./store";
import { playCommand } from "./text";
import { sentenceOf } from "./trouble";

interface TimelineOptions {
  page: RoomPage;
  me: User;
  sounds: readonly Sound[];
  hooks: list.TimelineHooks;
  server: list.TimelineServer;
}

type End = NonNullable<TimelineState["busy"]>;

export class Timeline extends Observable<TimelineState> {
  readonly room_id: number;
  readonly #me: User;
  readonly #sounds: readonly Sound[];
  readonly #hooks: list.TimelineHooks;
  readonly #server: list.TimelineServer;
  /** What I wrote here and nobody has yet. */
  readonly outbox: Outbox;
  readonly #inbox = new Inbox((messages) => this.#arrived(messages));
  readonly #asks = new Map<End, Promise<void>>();
  /** News that came while a page was being fetched: the page may be older than they are. */
  #meanwhile: RoomEvent[] = [];
  readonly #removed = new Set<string>();
  #view: list.TimelineView | null = null;
  #queue: Promise<void> = Promise.resolve();
  #newest = 0;
  #serverTime: number;
  readonly #loadedAt: number;
  /** The server's clock less ours, so that a pending message is threaded like the stored one. */
  #skew: number;
  /** How many messages the catch-up under way has brought; null when none is. */
  #catching: number | null = null;
  #firstWasHidden = false;
  #first: string | undefined;
  #boosts = 0;

  constructor({ page, me, sounds, hooks, server }: TimelineOptions) {
    super(list.EMPTY);
    this.room_id = page.room.id;
    this.#me = me;
    this.#sounds = sounds;
    this.#hooks = hooks;
    this.#server = server;
    this.#skew = page.loaded_at_ms - Date.now();
    this.#loadedAt = page.loaded_at_ms;
    this.#serverTime = page.loaded_at_ms;
    this.outbox = new Outbox({
      room_id: page.room.id,
      by: me.id,
      server: this.#server,
      hooks,
      now: Date.now,
      confirmed: (message) => this.#confirm(message),
      changed: (id, outgoing) => this.#outgoing(id, outgoing),
    });
    for (const { id, html, at, fresh } of this.outbox.kept())
      this.outbox.add(...this.#letter(id, html, at + this.#skew, fresh ? "pending" : "failed"));
    const { message_id: from = 0, count = 0 } = page.first_unread ?? {};
    const left_off = page.first_unread ? { from, around: from, count, me: me.id } : null;
    this.set(list.folded({ ...this.#opened(page.messages), left_off }));
    this.#first = this.state().messages[0]?.client_message_id;
  }

  /** When everything asked for so far is on the screen. */
  settled(): Promise<void> {
    this.#inbox.empty();
    return this.#queue;
  }

  /** Takes the list's view; it jumps to the message that was asked for, to what is new, or the end. */
  attach(view: list.TimelineView): () => void {
    this.#view = view;
    const highlighted = this.state().messages.find((message) => message.highlighted);
    if (highlighted) view.center(highlighted.client_message_id);
    else {
      view.scrollTo(view.measure().height);
      void this.#render((state) => state, "new");
    }
    // What the first paint did not wait for: a few at a time, and before any news.
    for (let { folded } = this.state(); folded > 0; folded = list.left(folded)) {
      this.#queue = this.#queue.then(() => view.painted());
      void this.#render((state) => ({ ...state, folded: list.left(state.folded) }), "auto");
    }
    return () => {
      this.#view = null;
    };
  }

  nearEnd(): boolean {
    if (!this.#view) return true;
    const { top, height, client } = this.#view.measure();
    return height - top - client <= list.NEAR_END;
  }

  // --- Pages ---------------------------------------------------------------------------------

  /** The first message came into sight, or left it. */
  firstSeen(visible: boolean): void {
    const first = this.state().messages[0]?.client_message_id;
    if (first !== this.#first) this.#firstWasHidden = false;
    this.#first = first;
    if (!visible) this.#firstWasHidden = true;
    else if (this.#firstWasHidden) void this.loadBefore();
  }

  lastSeen(visible: boolean): void {
    if (!visible) return;
    if (!this.state().up_to_date) void this.loadAfter();
    else if (this.state().jump) this.change({ jump: false });
    void this.#makeRoom(1);
  }

  async loadBefore(): Promise<void> {
    const first = this.state().messages.find(({ id }) => id > 0);
    if (this.state().at_top || !first) return;
    await this.#ask("before", async () => {
      const page = await this.#server.before(first.id);
      const grown = (state: TimelineState) => list.prepended(state, page, this.#removed);
      await this.#render((state) => this.#caught(grown(state)), "stay");
    });
  }

  async loadAfter(): Promise<void> {
    const last = this.state().messages.findLast(({ id }) => id > 0);
    if (this.state().up_to_date || !last) return;
    await this.#ask("after", async () => {
      const page = await this.#server.after(last.id);
      await this.#render((state) => {
        this.#note(page?.messages ?? []);
        const mine = this.outbox.messages();
        return this.#caught(list.appended(state, page, this.#removed, mine));
      }, "stay");
    });
  }

  async jumpToNewest(): Promise<void> {
    if (!this.state().up_to_date) await this.#loadLatest("end");
    await this.#render((state) => ({ ...state, jump: false }), "end");
  }

  /** To where the reader left off. */
  async jumpToNew(): Promise<void> {
    const { around = 0 } = this.state().left_off ?? {};
    await this.#ask("around", async () => {
      const there = await this.#server.around(around).then((page) => page && this.#opened(page));
      await this.#render((s) => this.#caught(there ? { ...there, busy: s.busy } : s), "new");
    });
  }

  #loadLatest(scroll: "end" | "auto"): Promise<void> {
    return this.#ask("latest", async () => {
      const { messages, loaded_at_ms } = await this.#server.latest();
      this.#serverTime = Math.max(this.#serverTime, loaded_at_ms);
      await this.#render((state, near) => {
        const jump = scroll === "auto" && !near;
        return this.#caught({ ...this.#opened(messages), jump, busy: state.busy });
      }, scroll);
    });
  }

  /** One request per end at a time. One that fails may be asked again by scrolling. */
  #ask(end: End, question: () => Promise<void>): Promise<void> {
    const asked = this.#asks.get(end);
    if (asked) return asked;
    const answer = question()
      .catch((error: unknown) => {
        if (!(error instanceof ApiError || error instanceof NetworkError)) throw error;
      })
      .finally(() => {
        this.#asks.delete(end);
        if (this.#asks.size === 0) this.#meanwhile = [];
        this.change({ busy: [...this.#asks.keys()].at(-1) ?? null });
      });
    this.#asks.set(end, answer);
    this.change({ busy: end });
    return answer;
  }

  #opened(page: MessagePage): TimelineState {
    this.#note(page.messages);
    const messages = list
      .unremoved(page.messages, this.#removed)
      .map((message) => list.shown(message, { highlighted: message.id === page.highlighted_id }));
    const up_to_date = !page.has_after;
    return {
      ...list.EMPTY,
      messages: up_to_date ? [...messages, ...this.outbox.messages()] : messages,
      up_to_date,
      at_top: !page.has_before,
      left_off: this.state().left_off,
    };
  }

  #caught(state: TimelineState): TimelineState {
    return this.#meanwhile.reduce((next, event) => this.#happened(next, event), state);
  }

  // --- News ----------------------------------------------------------------------------------

  receive(event: RoomEvent): void {
    if (this.#asks.size > 0) this.#meanwhile.push(event);
    if (event.type === "messages_appended") {
      this.#inbox.add(event.messages);
      return;
    }
    this.#inbox.empty();
    const scroll = list.scrollFor(event, this.state().messages);
    void this.#render((state) => this.#happened(state, event), scroll);
  }

  /** What to ask `catch_up` for; what comes back until `caughtUp` is old news, and silent. */
  catchUp(): { last_seen_message_id: number | null; since: number } {
    this.#inbox.empty();
    this.#catching = 0;
    return { last_seen_message_id: this.#newest || null, since: this.#serverTime };
  }

  async caughtUp(answer: list.CaughtUp): Promise<void> {
    // What came before this answer is part of it, and must not be taken for news.
    await this.settled();
    const missed = this.#catching ?? 0;
    this.#catching = null;
    this.#newest = Math.max(this.#newest, answer.last_seen_message_id);
    const known = answer.reset ? 0 : this.#serverTime;
    this.#serverTime = Math.max(known, answer.server_time_ms);
    if (missed > 0) this.#hooks.caughtUp(missed);
    if (answer.reset) this.#skew = answer.server_time_ms - Date.now();
    // Someone reading old messages keeps them; going to the end loads the newest anyway.
    if (answer.reset && this.state().up_to_date) await this.#loadLatest("auto");
  }

  /** Marks what came after a message as new, unless that was not so long ago; how much it is. */
  async mark(seen: number, until?: number): Promise<number> {
    const left_off = list.leftOffAt(this.state().messages, [seen, this.#me.id], until);
    const goal = this.nearEnd() ? "new" : "stay";
    if (left_off) await this.#render((state) => ({ ...state, left_off }), goal);
    return left_off?.count ?? 0;
  }

  #arrived(messages: Message[]): void {
    const live = this.#catching === null;
    const confirmed = new Set(this.#note(messages));
    if (confirmed.size > 0) this.#pointToEnd();
    void this.#makeRoom(messages.length);
    const here: string[] = [];
    void this.#render((state, near) => {
      const fresh = list.unknown(state, messages, this.#removed);
      const added = messages.reduce((next, message) => this.#upsert(next, message, live), state);
      const on = added.up_to_date ? fresh : [];
      if (!live) this.#catching = (this.#catching ?? 0) + on.length;
      const told = messages.filter((m) => confirmed.has(m) || (live && on.includes(m)));
      here.push(...told.map(({ client_message_id }) => client_message_id));
      return list.trimTop(near || on.length === 0 ? added : { ...added, jump: true });
    }, "auto").then(() => this.#tell(here));
    void this.#makeRoom(1);
  }

  /** In a frame of its own: a list cut and grown in the same one counts as shifted. */
  #makeRoom(more: number): Promise<void> {
    const cut = (state: TimelineState) => (state.up_to_date ? list.trimTop(state, more) : state);
    const frame = () => this.#view?.painted();
    this.#queue = this.#queue.then(() =>
      cut(this.state()) === this.state() ? undefined : frame(),
    );
    return this.#render(cut, "stay", frame);
  }

  #tell(ids: readonly string[]): void {
    const here = this.state().messages.filter((message) => ids.includes(message.client_message_id));
    if (here.length > 0) this.#hooks.arrived(here);
  }

  /** What the news makes of the messages. */
  #happened(state: TimelineState, event: RoomEvent): TimelineState {
    if (event.type === "messages_appended")
      return event.messages.reduce((next, message) => this.#upsert(next, message, false), state);
    if (event.type === "message_removed") this.#removed.add(event.client_message_id);
    return list.happened(state, event);
  }

  #upsert(state: TimelineState, message: Message, live: boolean): TimelineState {
    const at = list.indexOf(state, message);
    const old = state.messages[at];
    if (old?.outgoing) return list.placed(state, { ...list.merged(old, message), outgoing: null });
    if (old) return list.changed(state, old.client_message_id, (m) => list.merged(m, message));
    if (this.#removed.has(message.client_message_id)) return state;
    if (state.up_to_date) return list.placed(state, list.shown(message, { live }));
    return message.timestamp > this.#loadedAt ? { ...state, jump: true } : state;
  }

  /** What the server has; its clock was wrong for what has a time to come. Those of mine that it was not known to have are returned. */
  #note(messages: readonly Message[]): Message[] {
    for (const { id, updated_at_ms } of messages) {
      this.#newest = Math.max(this.#newest, id);
      if (updated_at_ms < Date.now() + this.#skew + list.SETTLED_AFTER)
        this.#serverTime = Math.max(this.#serverTime, updated_at_ms);
    }
    return messages.filter((message) => this.outbox.settle(message));
  }

  /** Shows a message at once and sends it until the server has it, or has refused it. */
  async send(html: string): Promise<void> {
    const letter = this.#letter(list.makeUuid(), html, this.#serverNow());
    this.outbox.send(...letter);
    await this.#show([letter[0]]);
  }

  /** Each its own message, in their order; they are sent one after another. */
  async sendFiles(files: readonly Observable<list.Going>[]): Promise<void> {
    const messages = files.map((file) => list.pendingFile(file, this.#outlook()));
    uploads.send(messages);
    if (messages.length > 0) await this.#show(messages);
  }

  async #show(sent: readonly TimelineMessage[]): Promise<void> {
    this.change({ left_off: null });
    if (this.state().up_to_date) {
      void this.#render(
        (state) => list.trimTop({ ...state, messages: [...state.messages, ...sent], jump: false }),
        "end",
      );
    } else {
      // Between old messages it has no place: it comes with the newest page.
      await this.#loadLatest("end");
      this.#pointToEnd();
    }
    await this.#makeRoom(1);
  }

  /** A message, what was written, and what is sent of it. */
  #letter(id: string, html: string, at: number, state: list.Outgoing["state"] = "pending") {
    const sound = playCommand(html, this.#sounds);
    const message = list.pendingMessage(id, list.presented(html, sound), this.#outlook(at, state));
    return [message, html, sound ? `/play ${sound.name}` : html] as const;
  }

  #outlook(at = this.#serverNow(), state: list.Outgoing["state"] = "pending") {
    return { me: this.#me, room_id: this.room_id, at, state };
  }

  /** A time as the server would say it, never before the newest message's; that is not to come. */
  readonly #serverNow = () => list.following(this.state().messages, Date.now() + this.#skew);

  retry(id: string): void {
    const message = this.outbox.retry(id);
    if (message) void this.#render((state) => list.placed(state, message), "end");
  }

  /** What was written, which is the caller's from now on. */
  discard(id: string): string | undefined {
    void this.#render((state) => list.without(state, id), "auto");
    return this.outbox.discard(id);
  }

  readonly retryNow = (): void => this.outbox.retryNow();
  readonly close = (): void => this.outbox.close();

  /** My newest message on screen, for the up arrow. */
  lastOwn(): TimelineMessage | undefined {
    const { messages, up_to_date } = this.state();
    const own = (m: TimelineMessage) =>
      !m.outgoing && m.content_type !== "attachment" && m.creator.id === this.#me.id;
    return up_to_date ? messages.findLast(own) : undefined;
  }

  /** Shows the new text at once. Rejects, with the old text back in place, when it was refused. */
  async edit(message: TimelineMessage, html: string): Promise<void> {
    const id = message.client_message_id;
    const words = list.presented(html, playCommand(html, this.#sounds));
    await this.#change(id, (m) => ({ ...m, ...words }));
    await this.#attempt(
      async () => {
        const answer = await this.#server.update(message.id, html);
        await this.#render((s) => this.#upsert(s, answer.message, false), { changed: id });
      },
      (state) =>
        list.changed(state, id, (m) =>
          m.body_html === words.body_html ? { ...m, ...list.wording(message) } : m,
        ),
    );
  }

  async remove(message: TimelineMessage): Promise<void> {
    const id = message.client_message_id;
    await this.#render((state) => list.without(state, id), "auto");
    await this.#attempt(
      () => this.#server.remove(message.id),
      (state) => (list.indexOf(state, message) < 0 ? list.placed(state, message) : state),
    ).catch(() => undefined);
  }

  async boost(message: TimelineMessage, content: string): Promise<void> {
    const id = message.client_message_id;
    this.#boosts -= 1;
    const from = { me: this.#me, at: this.#serverNow() };
    const pending = list.pendingBoost(this.#boosts, message.id, content.trim(), from);
    await this.#change(id, (m) => list.boosted(m, pending));
    await this.#attempt(
      async () => {
        const { boost } = await this.#server.boost(message.id, pending.content);
        await this.#change(id, (m) => list.boosted(m, boost));
      },
      (state) => list.changed(state, id, (m) => list.unboosted(m, pending.id)),
    ).catch(() => undefined);
  }

  async unboost(boost: Boost): Promise<void> {
    if (boost.id < 0) return;
    const holder = this.state().messages.find(({ id }) => id === boost.message_id);
    const id = holder?.client_message_id ?? "";
    await this.#change(id, (m) => list.unboosted(m, boost.id));
    await this.#attempt(
      () => this.#server.unboost(boost.message_id, boost.id),
      (state) => list.changed(state, id, (m) => list.boosted(m, boost)),
    ).catch(() => undefined);
  }

  /** One try; what was shown too early is taken back. */
  async #attempt(act: () => Promise<void>, undo: (state: TimelineState) => TimelineState) {
    try {
      await act();
    } catch (error) {
      await this.#render(undo, "auto");
      this.#hooks.alert(sentenceOf(error));
      throw error;
    }
  }

  #confirm(message: Message): void {
    this.#note([message]);
    if (this.#asks.size > 0)
      this.#meanwhile.push({ type: "messages_appended", messages: [message] });
    const id = message.client_message_id;
    void this.#render((state) => this.#upsert(state, message, false), "auto").then(() =>
      this.#tell([id]),
    );
    this.#pointToEnd();
  }

  #outgoing(id: string, outgoing: list.Outgoing): void {
    void this.#change(id, (m) => (m.id ? m : { ...m, outgoing }));
    this.#pointToEnd();
  }

  /** News of what I wrote, where it has no place among the messages on screen. */
  #pointToEnd(): void {
    if (!this.state().up_to_date) this.change({ jump: true });
  }

  #change(id: string, change: (message: TimelineMessage) => TimelineMessage): Promise<void> {
    return this.#render((state) => list.changed(state, id, change), { changed: id });
  }

  // --- Rendering and scrolling -----------------------------------------------------------------

  /** Measures, renders and corrects in one go, and waits for what is to follow a change. */
  #render(
    change: (state: TimelineState, near: boolean) => TimelineState,
    scroll: list.Scroll,
    follows?: () => Promise<void> | undefined,
  ): Promise<void> {
    this.#queue = this.#queue.then(() => {
      const near = scroll === "auto" && this.nearEnd(); // asked, the browser must lay out
      const next = change(this.state(), near);
      if (next === this.state() && scroll !== "end" && scroll !== "new") return;
      const goal = scroll === "auto" ? (near ? "end" : "stay") : scroll;
      const correct = this.#view && list.correction(this.#view, this.state(), next, goal);
      if (this.#view) this.#view.commit(() => this.set(next));
      else this.set(next);
      correct?.();
      if (scroll === "new" && !this.nearEnd()) this.change({ jump: true });
      return follows?.();
    });
    return this.#queue;
  }
}
