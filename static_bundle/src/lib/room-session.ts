/**
 * A room on the screen, apart from how it looks: its messages, who is typing, the channels that feed
 * both, what is read out and heard of it, and its scrolling list. And the ways to other rooms: where
 * one can go, and what a search found.
 */
import type { Subscription } from "@rails/actioncable";
import { useEffect, useState } from "react";
import type { Message, RoomPage, Search, User } from "./api";
import * as api from "./api";
import { isTouchOnly, painted, player, visit } from "./browser";
import {
  connection,
  join,
  Presence,
  parseStreams,
  refreshSidebar,
  type StreamEvent,
  serverFor,
} from "./cable";
import type { CaughtUp, RoomEvent, TimelineMessage, TimelineState, TimelineView } from "./messages";
import * as list from "./messages";
import { announce, apply, failed, flash, getState, Observable, roomsIn, type State } from "./store";
import { escapeHtml, matchRank, plainText } from "./text";
import { Timeline } from "./timeline";

/** How many new ones begin further up than what is here. */
export function newAbove(state: TimelineState): number {
  const { messages, left_off } = state;
  const above = left_off && (messages[0]?.id ?? 0) >= left_off.from && !list.firstNew(state);
  return above ? Math.max(left_off.count, messages.filter(list.isNew(left_off)).length) : 0;
}

/** The rooms that were on the screen last, this one at the end. */
let opened: readonly number[] = [];

export class RoomSession {
  readonly #page: RoomPage;
  readonly timeline: Timeline;
  readonly typing = new Typing();
  readonly #announcer = new Announcer();
  /** How many messages the last catch-up brought, and after which one. */
  #missed = 0;
  #known = 0;
  /** The newest one here when the window was hidden for a while. */
  #seen: number | null = null;

  constructor(page: RoomPage) {
    const { me, sounds } = getState();
    if (!me) throw new Error("A room needs somebody in it.");
    this.#page = page;
    this.timeline = new Timeline({
      page,
      me,
      sounds,
      server: serverFor(page.room.id),
      hooks: {
        arrived: (messages) => this.#arrived(messages, me.id),
        caughtUp: (count) => {
          this.#missed = count;
        },
        say: announce,
        alert: (text) => flash("alert", text),
        refused: () => apply({ type: "room_refused", room_id: page.room.id }),
      },
    });
  }

  /** Joins the room's channels; the result leaves them. */
  open(): () => void {
    const { id, streams } = this.#page.room;
    opened = [...opened.filter((other) => other !== id), id].slice(-2);
    const presence = new Presence(id, this.timeline, (seen) => {
      this.#seen = seen;
      if (!connection().isOpen()) return;
      this.#catchUp(messages);
      refreshSidebar();
    });
    const messages = this.#joinMessages(streams.messages);
    const seat = join("PresenceChannel", { room_id: id }, presence);
    const typing = join(
      "TypingNotificationsChannel",
      { room_id: id },
      {
        disconnected: () => this.typing.forget(),
        received: ({ action, user }) => this.typing.receive(action, user),
      },
    );
    presence.subscription = seat;
    this.typing.subscription = typing;
    const retry = () => this.timeline.retryNow();
    retry();
    addEventListener("online", retry);
    return () => {
      removeEventListener("online", retry);
      presence.stop();
      this.typing.stop();
      this.typing.forget();
      for (const subscription of [messages, seat, typing]) subscription.unsubscribe();
      this.timeline.close();
    };
  }

  /** Keeps a message for another time; here it would be read at once, so it is left for the room before. */
  async leaveUnread(message_id: number): Promise<void> {
    const room_id = this.#page.room.id;
    try {
      await api.markUnread(room_id, message_id);
    } catch (problem) {
      failed(problem);
      return;
    }
    apply({ type: "room_unread", room_id, at_ms: 0, away: true });
    announce("Marked unread");
    const others = roomsIn(getState()).filter(({ id }) => id !== room_id);
    const next = others.find(({ id }) => id === opened[0]) ?? others[0];
    if (next) visit(next.path);
  }

  #joinMessages(signed_stream_name: string): Subscription {
    const subscription: Subscription = join(
      "RoomMessagesChannel",
      { signed_stream_name },
      {
        connected: () => {
          this.#catchUp(subscription);
          this.timeline.retryNow();
        },
        rejected: () => apply({ type: "room_refused", room_id: this.#page.room.id }),
        received: (payload: string | CaughtUp) => {
          if (typeof payload !== "string") void this.#caughtUp(payload);
          else for (const event of parseStreams(payload)) this.#receive(event);
        },
      },
    );
    return subscription;
  }

  #receive(event: StreamEvent): void {
    if (!/^(room|person)_/.test(event.type)) this.timeline.receive(event as RoomEvent);
  }

  #catchUp(subscription: Subscription): void {
    const known = this.timeline.catchUp();
    this.#known = known.last_seen_message_id ?? 0;
    this.#missed = 0;
    subscription.perform("catch_up", known);
  }

  async #caughtUp(answer: CaughtUp): Promise<void> {
    const [seen, known] = [this.#seen, this.#known];
    this.#seen = null;
    await this.timeline.caughtUp(answer);
    // What a sleeping computer missed is new too, though its window was never hidden.
    const marked =
      seen === null
        ? this.timeline.mark(known, answer.server_time_ms - list.A_WHILE)
        : this.timeline.mark(seen);
    const count = (await marked) || this.#missed;
    if (count > 0) announce(inWords(count));
  }

  #arrived(messages: readonly TimelineMessage[], me_id: number): void {
    const last = messages.at(-1);
    if (last?.sound) player.play(last.sound, last.client_message_id);
    this.#announcer.tell(
      messages.filter((message) => message.creator.id !== me_id),
      me_id,
    );
  }
}

// --- Who looks and who types, as this client tells it and is told ---------------------------------

const TYPING_EVERY = 1000;
const TYPING_LIFE = 5000;

/** The names, sorted, of those who type here; and telling others that I do. */
export class Typing extends Observable<readonly string[]> {
  readonly #names = new Map<number, { name: string; at: number }>();
  #told = Number.NEGATIVE_INFINITY;
  #tick: ReturnType<typeof setInterval> | undefined;
  subscription: Pick<Subscription, "perform"> | null = null;

  constructor() {
    super([]);
  }

  /** Call it on every change of the editor. */
  changed(hasText: boolean): void {
    if (!hasText) {
      this.stop();
    } else if (Date.now() - this.#told >= TYPING_EVERY) {
      this.#told = Date.now();
      this.subscription?.perform("start");
    }
  }

  stop(): void {
    if (this.#told === Number.NEGATIVE_INFINITY) return;
    this.#told = Number.NEGATIVE_INFINITY;
    this.subscription?.perform("stop");
  }

  receive(action: "start" | "stop", user: Pick<User, "id" | "name">): void {
    if (user.id === getState().me?.id) return;
    if (action === "start") this.#names.set(user.id, { name: user.name, at: Date.now() });
    else this.#names.delete(user.id);
    this.#show();
  }

  #purge(): void {
    for (const [id, { at }] of this.#names) {
      if (Date.now() - at > TYPING_LIFE) this.#names.delete(id);
    }
    this.#show();
  }

  #show(): void {
    clearInterval(this.#tick);
    if (this.#names.size > 0) this.#tick = setInterval(() => this.#purge(), 1000);
    const names = [...this.#names.values()].map(({ name }) => name).sort();
    if (names.join("\n") !== this.state().join("\n")) this.set(names);
  }

  forget(): void {
    this.#names.clear();
    this.#show();
  }
}

/** Nothing is left to be read in a room, whether it is on the screen or not. */
export function markRead(room_id: number): void {
  apply({ type: "room_read", room_id });
  announce("Marked read");
  api.markRead(room_id).catch(failed);
}

// --- What is read out ---------------------------------------------------------------------------

export const inWords = (count: number): string =>
  count === 1 ? "1 new message" : `${count} new messages`;

/** Reads out what others write, one sentence at a time; a flood becomes a number. */
export class Announcer {
  #waiting: string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  tell(messages: readonly Message[], me_id: number): void {
    for (const { creator, plain_text, mentionee_ids } of messages) {
      const sentence = `${creator.name}: ${plain_text}`;
      if (mentionee_ids.includes(me_id)) announce(sentence);
      else this.#waiting.push(sentence.slice(0, 120));
    }
    if (this.#waiting.length === 0) return;
    this.#timer ??= setTimeout(() => {
      const [only = ""] = this.#waiting;
      announce(this.#waiting.length === 1 ? only : inWords(this.#waiting.length));
      this.#waiting = [];
      this.#timer = undefined;
    }, 1000);
  }
}

// --- Its list -----------------------------------------------------------------------------------

/** Joins the scrolling list to its timeline. Returns the way to let go. */
export function mountList(
  list: HTMLElement,
  timeline: Timeline,
  commit: (render: () => void) => void,
): () => void {
  const detach = timeline.attach(viewOf(list, commit));
  const leave = [detach, watchEnds(list, timeline), keepEnd(list, timeline)];
  list.addEventListener("copy", copyMessages);
  return () => {
    for (const off of leave) off();
    list.removeEventListener("copy", copyMessages);
  };
}

/** A message on the screen, by its client message id. */
const find = (id: string | undefined) => (id ? document.getElementById(`message_${id}`) : null);

/** The means to measure and to scroll, which a timeline does not have. */
function viewOf(list: HTMLElement, commit: TimelineView["commit"]): TimelineView {
  const below = (element: Element) =>
    element.getBoundingClientRect().top - list.getBoundingClientRect().top;
  return {
    commit,
    measure: () => ({ top: list.scrollTop, height: list.scrollHeight, client: list.clientHeight }),
    scrollTo(top) {
      // A moving finger keeps its momentum on iOS, and would undo the correction.
      if (isTouchOnly()) {
        list.style.overflowY = "hidden";
        requestAnimationFrame(() => list.style.removeProperty("overflow-y"));
      }
      list.scrollTop = top;
    },
    center: (id) => find(id)?.scrollIntoView({ block: "center", behavior: "instant" }),
    offsetOf(id) {
      const element = find(id);
      return element && below(element);
    },
    painted,
    firstVisible: (ids) =>
      ids.find((id) => {
        const element = find(id);
        return element && below(element) + element.clientHeight > 0;
      }),
  };
}

/** Tells when the first or the last message comes into sight, or leaves it. */
function watchEnds(list: HTMLElement, timeline: Timeline): () => void {
  let first: HTMLElement | null = null;
  let last: HTMLElement | null = null;
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (target === first) timeline.firstSeen(isIntersecting);
        if (target === last) timeline.lastSeen(isIntersecting);
      }
    },
    { root: list },
  );
  const watch = () => {
    const { messages } = timeline.state();
    const ends = [find(messages[0]?.client_message_id), find(messages.at(-1)?.client_message_id)];
    if (ends[0] === first && ends[1] === last) return;
    [first = null, last = null] = ends;
    observer.disconnect();
    if (first) observer.observe(first);
    if (last && last !== first) observer.observe(last);
  };
  // React has rendered by the next frame, whether it was asked to at once or not.
  const unsubscribe = timeline.subscribe(() => requestAnimationFrame(watch));
  watch();
  return () => {
    unsubscribe();
    observer.disconnect();
  };
}

/** Keeps the end in view when the list's height changes, or a picture on its way gets its box. */
function keepEnd(list: HTMLElement, timeline: Timeline): () => void {
  let atEnd = timeline.nearEnd();
  let height = list.clientHeight;
  const note = () => {
    atEnd = timeline.nearEnd();
  };
  const resized = new ResizeObserver(() => {
    const changed = list.clientHeight !== height;
    height = list.clientHeight;
    if (atEnd && changed) list.scrollTop = list.scrollHeight;
  });
  const grown = new MutationObserver(() => {
    if (atEnd) list.scrollTop = list.scrollHeight;
  });
  grown.observe(list, { subtree: true, attributeFilter: ["data-picture"] });
  list.addEventListener("scroll", note, { passive: true });
  resized.observe(list);
  return () => {
    list.removeEventListener("scroll", note);
    resized.disconnect();
    grown.disconnect();
  };
}

/** More than one message is copied as who said it, when, and what; none of the buttons between. */
function copyMessages(event: ClipboardEvent): void {
  const selection = getSelection();
  if (!(event.clipboardData && selection?.rangeCount)) return;
  const parts = partsOf(selection.getRangeAt(0), event.currentTarget as HTMLElement);
  if (parts.length < 2) return;
  event.preventDefault();
  const words = parts.map(({ head, html }) => `${head}\n${plainText(html).trim()}`);
  const markup = parts.map(({ head, html }) => `<p><b>${escapeHtml(head)}</b></p>${html}`);
  event.clipboardData.setData("text/plain", words.join("\n\n"));
  event.clipboardData.setData("text/html", markup.join(""));
}

/** What is selected of each message. */
function partsOf(range: Range, list: HTMLElement): { head: string; html: string }[] {
  const messages = [...list.querySelectorAll(".message")];
  return messages.flatMap((message) => {
    const words = message.querySelector(".message__presentation");
    if (!(words && range.intersectsNode(words))) return [];
    const holder = document.createElement("div");
    holder.append(within(range, words).cloneContents());
    const html = holder.innerHTML;
    const author = message.querySelector(".message__author")?.textContent;
    const time = message.querySelector<HTMLElement>(".message__timestamp")?.title;
    return plainText(html).trim() === "" ? [] : [{ head: `${author}, ${time}`, html }];
  });
}

function within(range: Range, element: Element): Range {
  const part = document.createRange();
  part.selectNodeContents(element);
  if (range.compareBoundaryPoints(Range.START_TO_START, part) > 0)
    part.setStart(range.startContainer, range.startOffset);
  if (range.compareBoundaryPoints(Range.END_TO_END, part) < 0)
    part.setEnd(range.endContainer, range.endOffset);
  return part;
}

// --- Going somewhere ------------------------------------------------------------------------------

export interface Goal {
  key: string;
  name: string;
  unread: boolean;
  face: User | null;
  go: () => void;
}

/** All that is known here, without asking: what matches, what is unread first. */
export function goalsFor(typed: string, { sidebar }: Pick<State, "sidebar">): Goal[] {
  const rooms = roomsIn({ sidebar }).map(({ id, display_name, unread, members, path }) => {
    const face = members?.[0] ?? null;
    return { key: `room-${id}`, name: display_name, unread, face, go: () => visit(path) };
  });
  const people = (sidebar?.placeholders ?? []).map((face) => {
    const ping = () => api.createDirect([face.id]).then(({ room }) => visit(room.path), failed);
    return {
      key: `person-${face.id}`,
      name: face.name,
      unread: false,
      face,
      go: () => void ping(),
    };
  });
  return [...rooms, ...people]
    .map((goal) => ({ goal, rank: typed ? matchRank(typed, goal.name) : 0 }))
    .filter(({ rank }) => rank !== null)
    .sort(
      (a, b) => Number(b.goal.unread) - Number(a.goal.unread) || Number(a.rank) - Number(b.rank),
    )
    .map(({ goal }) => goal);
}

// --- A search -------------------------------------------------------------------------------------

export const askedIn = (path: string) => new URLSearchParams(path.split("?")[1]);
export const isNarrowed = (asked: URLSearchParams) =>
  [...asked.keys()].some((name) => name !== "q");

export type Hits = Pick<Search, "query" | "messages" | "has_before">;
/** What a search shows, how far it was scrolled, and in which entry of the history that is. */
export type Place = { entry: string; hits: Hits; top: number | null };
let last: Place | null = null;

/** Whoever comes back to a search finds it as it was, with the older hits that were fetched. */
export function useHits(search: Hits) {
  const entry = `${history.state?.depth} ${location.search}`;
  const [place] = useState(() =>
    last?.entry === entry ? last : { entry, hits: search, top: null },
  );
  const [hits, setHits] = useState(place.hits);
  // What the module remembers is outside React.
  useEffect(() => {
    place.hits = hits;
    last = place;
  }, [place, hits]);
  return [hits, setHits, place] as const;
}

const WORKING_AFTER = 300;

/** The same promise, with a sign of work on the screen when it takes its time. */
export async function working<T>(work: Promise<T>): Promise<T> {
  const sign = setTimeout(() => apply({ type: "loading_changed", loading: true }), WORKING_AFTER);
  try {
    return await work;
  } finally {
    clearTimeout(sign);
    apply({ type: "loading_changed", loading: false });
  }
}

export function visitSearch(asked: URLSearchParams, words: string) {
  const next = new URLSearchParams(asked);
  next.delete("q");
  visit(
    words || next.size ? `/searches?${new URLSearchParams([["q", words], ...next])}` : "/searches",
  );
}

/** Signs alone are nothing to remember; their page says so, and shows them again. */
export async function remembered(typed: string): Promise<string> {
  if (!typed.trim()) return "";
  return working(api.recordSearch(typed)).then(
    ({ query }) => query,
    (error) => {
      if (error.code === "validation_failed") return typed;
      throw error;
    },
  );
}
