/**
 * Messages as values: what one is on the screen, and the steps that make one list of them from
 * another.
 */

import type { Attachment, Boost, Message, MessagePage, RoomPage, Sound, User } from "./api";
import type { Observable, Viewed } from "./store";
import { editorToPresentation, escapeHtml, isEmojiOnly, mentionedIds, plainText } from "./text";

const WINDOW = 300;
const LEEWAY = 20;
export const NEAR_END = 100;
/** In milliseconds: who was away for so long wants to know where they left off. */
export const A_WHILE = 60_000;
/** The server's time, as it tells it, may be as far behind its clock. */
export const SETTLED_AFTER = 120_000;
/** No message is lower, with the gap above it. */
const LEAST_PX = 56;
/** How many of so many messages are left when as many as the window can hold are rendered. */
export const left = (count: number) => Math.max(0, count - Math.ceil(innerHeight / LEAST_PX));

/** What became of a message I wrote; null once the server has it. */
export interface Outgoing {
  state: "pending" | "retrying" | "failed";
  /** The retry under way, 1 to 5. */
  attempt: number;
  /** Why the server refused it, in its words; null when nobody answered. */
  reason: string | null;
}

/** A file of mine on its way. */
export interface Going {
  /** The client id its message will have. */
  id: string;
  file: File;
  /** How much of it is there, from 0 to 1; null while it waits. */
  part: number | null;
  /** The address of its picture, which only this page can see. */
  thumbnail: string | null;
  /** The box an image will have. */
  box: { width: number; height: number } | null;
}

export interface TimelineMessage extends Message {
  outgoing: Outgoing | null;
  /** The file it brings, where it was sent from here. */
  going?: Observable<Going>;
  /** It came while I was looking: it may wiggle. */
  live: boolean;
  /** It was asked for by its permalink. */
  highlighted: boolean;
}

export interface TimelineState {
  messages: readonly TimelineMessage[];
  /** The newest message of the room is the last one here. */
  up_to_date: boolean;
  /** Nothing comes before the first one here. */
  at_top: boolean;
  /** How many of the first ones are not rendered yet. */
  folded: number;
  /** Something newer is out of view. */
  jump: boolean;
  busy: "before" | "after" | "latest" | "around" | null;
  left_off: LeftOff | null;
}

/** Where the reader left off: what comes from this message on, and is not their own, is new. */
export interface LeftOff {
  from: number;
  /** A message that there is, for the page where the new begins. */
  around: number;
  count: number;
  me: number;
}

/** The end of a catch-up. */
export interface CaughtUp {
  last_seen_message_id: number;
  server_time_ms: number;
  /** There was too much to tell. */
  reset: boolean;
}

/** The part of a message that an edit changes. */
export type Wording = Pick<
  Message,
  "content_type" | "body_html" | "plain_text" | "emoji_only" | "sound" | "mentionee_ids" | "links"
>;
export type Presentation = Omit<Message, "boosts" | "creator">;

/** What the cable tells about a room's messages. */
export type RoomEvent =
  | { type: "messages_appended"; messages: Message[] }
  | { type: "message_replaced"; message: Message }
  | { type: "presentation_replaced"; client_message_id: string; presentation: Presentation }
  | { type: "message_removed"; client_message_id: string }
  | { type: "boost_added"; client_message_id: string; boost: Boost }
  | { type: "boost_removed"; boost_id: number };

/** The scrolling list, as room-session.ts lends it. Offsets are from the list's upper edge. */
export interface TimelineView {
  commit(render: () => void): void;
  measure(): { top: number; height: number; client: number };
  scrollTo(top: number): void;
  center(id: string): void;
  offsetOf(id: string): number | null;
  firstVisible(ids: readonly string[]): string | undefined;
  /** What is rendered has been on the screen for a frame. */
  painted(): Promise<void>;
}

/** The endpoints a timeline needs, for one room. */
export interface TimelineServer {
  before(id: number): Promise<MessagePage | null>;
  after(id: number): Promise<MessagePage | null>;
  around(id: number): Promise<MessagePage | null>;
  latest(): Promise<RoomPage>;
  create(client_message_id: string, body: string): Promise<{ message: Message }>;
  update(id: number, body: string): Promise<{ message: Message }>;
  remove(id: number): Promise<void>;
  boost(id: number, content: string): Promise<{ boost: Boost }>;
  unboost(id: number, boost_id: number): Promise<void>;
}

/** What the timeline cannot do itself. */
export interface TimelineHooks {
  /** Confirmed and new on screen, by anybody: to be announced, and to be heard. */
  arrived(messages: readonly TimelineMessage[]): void;
  /** Missed while away, and here now. */
  caughtUp(count: number): void;
  say(text: string, how: "polite" | "assertive"): void;
  alert(text: string): void;
  /** The room is gone, or closed to me. */
  refused(): void;
}

// --- From one list to the next ------------------------------------------------------------------

/** No messages yet. */
export const EMPTY: TimelineState = {
  messages: [],
  up_to_date: true,
  at_top: true,
  folded: 0,
  jump: false,
  busy: null,
  left_off: null,
};

export const isNew =
  ({ from, me }: LeftOff) =>
  ({ id, outgoing, creator }: TimelineMessage): boolean =>
    !outgoing && id >= from && creator.id !== me;

/** The first of the new ones, if it is known to be: there is none before what is here. */
export function firstNew({
  messages,
  left_off,
  at_top,
}: TimelineState): TimelineMessage | undefined {
  const first = left_off ? messages.find(isNew(left_off)) : undefined;
  const from = left_off?.from ?? 0;
  const known = at_top || first?.id === from || (messages[0]?.id ?? 0) < from;
  return known ? first : undefined;
}

/** What came after a message that somebody had seen; nothing, if it was not so long ago. */
export function leftOffAt(
  messages: readonly TimelineMessage[],
  [seen, me]: readonly [number, number],
  until = Number.POSITIVE_INFINITY,
): LeftOff | null {
  const left_off = { from: seen + 1, around: seen, count: 0, me };
  const news = messages.filter(isNew(left_off));
  const [first] = news;
  return first && first.timestamp <= until ? { ...left_off, count: news.length } : null;
}

export function shown(message: Message, marks: Partial<TimelineMessage> = {}): TimelineMessage {
  return { ...message, outgoing: null, live: false, highlighted: false, ...marks };
}

/** A room that opens at its end shows that first. */
export function folded(state: TimelineState): TimelineState {
  const asked = firstNew(state) || state.messages.some((message) => message.highlighted);
  const whole = !state.up_to_date || asked;
  return { ...state, folded: whole ? 0 : left(state.messages.length) };
}

export function indexOf(state: TimelineState, { client_message_id }: Message): number {
  return state.messages.findLastIndex((m) => m.client_message_id === client_message_id);
}

export function changed(
  state: TimelineState,
  id: string | undefined,
  change: (message: TimelineMessage) => TimelineMessage,
): TimelineState {
  const at = state.messages.findLastIndex((message) => message.client_message_id === id);
  const old = state.messages[at];
  const next = old && change(old);
  if (!next || next === old) return state;
  return { ...state, messages: state.messages.with(at, next) };
}

export function without(state: TimelineState, id: string): TimelineState {
  const messages = state.messages.filter((message) => message.client_message_id !== id);
  return messages.length === state.messages.length ? state : { ...state, messages };
}

/**
 * `message` where its id belongs, from the end backwards: the server's clock may have been wrong for
 * some of them. What the server does not have yet will be newer than anything it has, so it stays
 * last.
 */
export function placed(state: TimelineState, message: TimelineMessage): TimelineState {
  const others = without(state, message.client_message_id).messages;
  const before = message.outgoing
    ? others.length - 1
    : others.findLastIndex((m) => !m.outgoing && m.id <= message.id);
  return { ...state, messages: others.toSpliced(before + 1, 0, message) };
}

/** A moment, or the newest message's if that is a little later. */
export function following(messages: readonly TimelineMessage[], now: number): number {
  const is_past = ({ timestamp }: TimelineMessage) => timestamp < now + SETTLED_AFTER;
  const last = messages.findLast((message) => !message.outgoing && is_past(message));
  return Math.max(now, last?.timestamp ?? 0);
}

type Ids = ReadonlySet<string>;

export const unremoved = (messages: readonly Message[], removed: Ids): readonly Message[] =>
  messages.filter(({ client_message_id }) => !removed.has(client_message_id));

/** Those that are neither here nor removed. */
export const unknown = (state: TimelineState, messages: readonly Message[], removed: Ids) =>
  unremoved(messages, removed).filter((message) => indexOf(state, message) < 0);

export function prepended(state: TimelineState, page: MessagePage | null, removed: Ids) {
  if (!page) return { ...state, at_top: true };
  const older = unknown(state, page.messages, removed).map((message) => shown(message));
  const messages = [...older, ...state.messages];
  return trimEnd({ ...state, messages, at_top: !page.has_before });
}

/** `mine` are those that the server does not have yet: they are last, where nothing is newer. */
export function appended(
  state: TimelineState,
  page: MessagePage | null,
  removed: Ids,
  mine: readonly TimelineMessage[],
): TimelineState {
  const confirmed = { ...state, messages: state.messages.filter(({ outgoing }) => !outgoing) };
  const newer = unknown(confirmed, page?.messages ?? [], removed).map((message) => shown(message));
  const up_to_date = !page?.has_after;
  const all = [...confirmed.messages, ...newer, ...(up_to_date ? mine : [])];
  return trimTop({ ...state, messages: all, up_to_date }, 1);
}

/** Cut at the top once it is too long by the leeway, or will be with so many more at its end. */
export function trimTop(state: TimelineState, more = 0): TimelineState {
  const { length } = state.messages;
  if (length + more <= WINDOW + LEEWAY || length <= WINDOW) return state;
  return { ...state, messages: state.messages.slice(-WINDOW), at_top: false };
}

/** Cut at the end once it is too long by the leeway. */
export function trimEnd(state: TimelineState): TimelineState {
  if (state.messages.length <= WINDOW + LEEWAY) return state;
  return { ...state, messages: state.messages.slice(0, WINDOW), up_to_date: false };
}

/** News of a message; older news than what is shown is no news. */
export function merged(old: TimelineMessage, news: Message | Presentation): TimelineMessage {
  return news.updated_at_ms < old.updated_at_ms ? old : { ...old, ...news };
}

export function boosted(message: TimelineMessage, boost: Boost): TimelineMessage {
  if (message.boosts.some(({ id }) => id === boost.id)) return message;
  const mine = message.boosts.findIndex(
    ({ id, content, booster }) =>
      id < 0 && content === boost.content && booster.id === boost.booster.id,
  );
  const pending = boost.id > 0 && mine >= 0;
  return {
    ...message,
    boosts: message.boosts.toSpliced(
      pending ? mine : message.boosts.length,
      pending ? 1 : 0,
      boost,
    ),
  };
}

export function unboosted(message: TimelineMessage, id: number): TimelineMessage {
  return { ...message, boosts: message.boosts.filter((boost) => boost.id !== id) };
}

/** What the news of one message makes of them all. */
export function happened(
  state: TimelineState,
  event: Exclude<RoomEvent, { type: "messages_appended" }>,
): TimelineState {
  switch (event.type) {
    case "message_replaced":
      return changed(state, event.message.client_message_id, (m) => merged(m, event.message));
    case "presentation_replaced":
      return changed(state, event.client_message_id, (m) => merged(m, event.presentation));
    case "message_removed":
      return without(state, event.client_message_id);
    case "boost_added":
      return changed(state, event.client_message_id, (m) => boosted(m, event.boost));
    case "boost_removed": {
      const holder = state.messages.find((m) => m.boosts.some(({ id }) => id === event.boost_id));
      return changed(state, holder?.client_message_id, (m) => unboosted(m, event.boost_id));
    }
    default:
      return event satisfies never;
  }
}

/** What the editor's HTML will look like as a message, until the server says how it does. */
export function presented(html: string, sound: Sound | null): Wording {
  const text = plainText(html);
  const [link] = /^https?:\/\/\S+$/.exec(text.trim()) ?? [];
  return {
    content_type: "text",
    body_html: sound ? `Playing ${escapeHtml(sound.name)}…` : editorToPresentation(html),
    plain_text: text,
    emoji_only: isEmojiOnly(text),
    sound: null,
    mentionee_ids: mentionedIds(editorToPresentation(html)),
    links: link ? [link] : [],
  };
}

/** A file as a message, until the server says what it is. */
function presentedFile({ name }: File): Wording {
  const nothing = { emoji_only: false, sound: null, mentionee_ids: [], links: [] };
  return { content_type: "attachment", body_html: "", plain_text: name, ...nothing };
}

/** Nobody will look at it any more; the address of a picture holds it in memory. */
export function forgetPicture(going: Observable<Going>): void {
  const { thumbnail } = going.state();
  if (!thumbnail) return;
  URL.revokeObjectURL(thumbnail);
  going.change({ thumbnail: null });
}

/** What the viewer can show of a file. */
const isViewable = (file?: Attachment | null): file is Attachment =>
  !!file?.url && (file.kind === "video" || (file.kind === "image" && !!file.still_url));

/** The viewer at one message's file, between those of all others. */
export function viewing(messages: readonly Message[], { attachment }: Message): Viewed {
  const files = messages.map((message) => message.attachment).filter(isViewable);
  return { kind: "file", files, index: files.findIndex(({ id }) => id === attachment?.id) };
}

/** Those of the same content together, in the order of their first. */
export function alike(boosts: readonly Boost[]): (readonly Boost[])[] {
  const groups = new Map<string, readonly Boost[]>();
  for (const boost of boosts)
    groups.set(boost.content, [...(groups.get(boost.content) ?? []), boost]);
  return [...groups.values()];
}

const letters = new Intl.Segmenter(undefined, { granularity: "grapheme" });
const A_GLANCE = 1000;

/** The emoji of what was said and boosted, those used last first. */
export function emojiIn(messages: readonly Message[]): string[] {
  const used = messages.toReversed().flatMap(({ boosts, plain_text }) => {
    const words = [...boosts.map(({ content }) => content).reverse(), plain_text];
    return words.flatMap((text) => [...letters.segment(text.slice(0, A_GLANCE))]);
  });
  return [...new Set(used.map(({ segment }) => segment).filter(isEmojiOnly))];
}

/** One that is on its way, as a message. */
export function pendingFile(going: Observable<Going>, outlook: Outlook) {
  const { id, file } = going.state();
  return { ...pendingMessage(id, presentedFile(file), outlook), going };
}

interface Outlook {
  me: User;
  room_id: number;
  at: number;
  state: Outgoing["state"];
}

export function pendingMessage(
  client_message_id: string,
  wording: Wording,
  { me, room_id, at, state }: Outlook,
): TimelineMessage {
  const time = new Date(at).toISOString();
  return {
    ...wording,
    id: 0,
    client_message_id,
    room_id,
    creator: me,
    created_at: time,
    updated_at: time,
    timestamp: at,
    updated_at_ms: 0,
    sort_value: at,
    boosts: [],
    path: `/rooms/${room_id}`,
    outgoing: { state, attempt: 0, reason: null },
    live: false,
    highlighted: false,
  };
}

/** Pending boosts have negative ids. */
export function pendingBoost(
  id: number,
  message_id: number,
  content: string,
  { me, at }: { me: User; at: number },
): Boost {
  const created_at = new Date(at).toISOString();
  return { id, message_id, content, emoji_only: isEmojiOnly(content), booster: me, created_at };
}

export function wording(message: Message): Wording {
  const { content_type, body_html, plain_text, emoji_only, sound, mentionee_ids, links } = message;
  return { content_type, body_html, plain_text, emoji_only, sound, mentionee_ids, links };
}

/** `crypto.randomUUID` exists on https only, and Campfire may live on a plain local address. */
export function makeUuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// --- Where the list is scrolled to --------------------------------------------------------------

/** "auto": to the end if it was in sight, else the picture stays. "new": to the first new one. */
export type Scroll = "end" | "new" | "auto" | "stay" | "none" | { changed: string };

/** What changes above the reader's place must not move it. */
export function scrollFor(event: RoomEvent, messages: readonly TimelineMessage[]): Scroll {
  if (event.type === "message_removed" || event.type === "messages_appended") return "auto";
  if (event.type === "message_replaced") return { changed: event.message.client_message_id };
  if (event.type !== "boost_removed") return { changed: event.client_message_id };
  const holder = messages.find(({ boosts }) => boosts.some(({ id }) => id === event.boost_id));
  return holder ? { changed: holder.client_message_id } : "none";
}

/** Measures now; the result, called after rendering, scrolls to where the reader should be. */
export function correction(
  view: TimelineView,
  before: TimelineState,
  after: TimelineState,
  scroll: Exclude<Scroll, "auto">,
): () => void {
  if (scroll === "none") return () => undefined;
  if (scroll === "end") return () => view.scrollTo(view.measure().height);
  if (scroll === "stay") return hold(view, before, after);
  if (scroll === "new") return () => land(view, firstNew(after)?.client_message_id ?? "");
  const { top, height, client } = view.measure();
  const offset = view.offsetOf(scroll.changed);
  if (offset === null || offset >= client) return () => undefined;
  return () => view.scrollTo(top + view.measure().height - height);
}

/** A third from the top, so that what was read before is seen to be. */
function land(view: TimelineView, id: string): void {
  const offset = view.offsetOf(id);
  const { top, client } = view.measure();
  if (offset !== null) view.scrollTo(top + offset - client / 3);
}

/** Keeps the first message in sight, which must outlive the change, where it is. */
function hold(view: TimelineView, before: TimelineState, after: TimelineState): () => void {
  const kept = new Set(after.messages.map((message) => message.client_message_id));
  const ids = before.messages.map((message) => message.client_message_id);
  const anchor = view.firstVisible(ids.filter((id) => kept.has(id)));
  const from = anchor === undefined ? null : view.offsetOf(anchor);
  return () => {
    const to = anchor === undefined ? null : view.offsetOf(anchor);
    if (from !== null && to !== null && to !== from) view.scrollTo(view.measure().top + to - from);
  };
}
