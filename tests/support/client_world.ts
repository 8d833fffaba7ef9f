import { vi } from "vitest";
/** The cast of the client's tests, and a room with its server: what it stores, answers and is told. */
import {
  ApiError,
  type Boost,
  type Boot,
  type Message,
  type MessagePage,
  NetworkError,
  type Room,
  type RoomPage,
  type Sidebar,
  type User,
} from "../../static_bundle/src/lib/api";
import type {
  TimelineHooks,
  TimelineServer,
  TimelineView,
} from "../../static_bundle/src/lib/messages";
import { START } from "../../static_bundle/src/lib/store";
import { escapeHtml, sentence } from "../../static_bundle/src/lib/text";
import { Timeline } from "../../static_bundle/src/lib/timeline";
// As words: Vite's own reader takes no lone surrogates.
import attacks from "./xss_vectors.json?raw";

// --- Attacks ----------------------------------------------------------------------------------

const RUNS =
  "script, style, link, meta, base, iframe, frame, object, embed, svg, math, template, form";
const CODE = /^[\s\0]*(?:javascript|vbscript|data):/i;

/** What can still run or load after `clean` in the attacks that the server's sanitizer is tried with. */
export function survivors(clean: (html: string) => string): string[] {
  return Object.values(JSON.parse(attacks) as Record<string, string[]>)
    .flat()
    .map(clean)
    .filter((html) => {
      const holder = document.createElement("div");
      holder.innerHTML = html;
      const attributes = [...holder.querySelectorAll("*")].flatMap((each) => [...each.attributes]);
      const bad = ({ name, value }: Attr) =>
        name.startsWith("on") || ["style", "srcdoc"].includes(name) || CODE.test(value);
      return holder.querySelector(RUNS) !== null || attributes.some(bad);
    });
}

// --- People, rooms and the markup the server makes of messages --------------------------------

export function person(id: number, name: string): User {
  return {
    id,
    name,
    initials: name.slice(0, 1),
    title: `${name} – Programmer`,
    bio: "Programmer",
    role: "member",
    status: "active",
    avatar_url: `/users/token-${id}/avatar?v=20260101120000`,
    url: `/users/${id}`,
  };
}

export function room(id: number, name: string, change: Partial<Room> = {}): Room {
  return {
    id,
    type: "open",
    name,
    display_name: name,
    topic: null,
    creator_id: 1,
    created_at: "2026-01-01T00:00:00.000Z",
    updated_at: "2026-01-01T00:00:00.000Z",
    updated_at_ms: 1000 + id,
    involvement: "mentions",
    involvement_label: "",
    next_involvement: "everything",
    unread: false,
    starred: false,
    unread_since_ms: null,
    mentions: 0,
    can_administer: false,
    invitation: false,
    members: null,
    streams: { messages: `signed-${id}` },
    path: `/rooms/${id}`,
    ...change,
  };
}

export function ping(id: number, ...members: User[]): Room {
  const display_name = sentence(members.map(({ name }) => name));
  return room(id, "", { type: "direct", name: null, display_name, members });
}

/** What an element carries of what the API says. */
function told(value: object, ...beside: string[]): string {
  const own = Object.entries(value).filter(([name]) => !beside.includes(name));
  return ` data-json='${escaped(Object.fromEntries(own))}'`;
}

export function boostMarkup(
  boost: Message["boosts"][number],
  own = told(boost, "booster"),
): string {
  return `<div id="boost_${boost.id}" class="boost" data-boost-id="${boost.id}" data-message-id="${boost.message_id}"${own}
    data-booster='${escaped(boost.booster)}' data-booster-id="${boost.booster.id}" data-emoji-only="${boost.emoji_only}" data-created-at="${boost.created_at}">
    <figure class="avatar boost__avatar"><a href="${boost.booster.url}" class="btn avatar"><img src="x" alt=""></a></figure>
    <span class="txt-small" data-boost-content>${boost.content}</span></div>`;
}

export function escaped(value: unknown): string {
  return escapeHtml(JSON.stringify(value)).replaceAll("'", "&#39;");
}

const ownOf = (m: Message) => told(m, "creator", "body_html", "plain_text");

export function presentationMarkup(m: Message, own = ownOf(m)): string {
  const attribute = (words: string) => escapeHtml(words).replaceAll('"', "&quot;");
  const inner = m.sound ? m.body_html : `<div class="trix-content">${m.body_html}</div>`;
  return `<div id="presentation_message_${m.client_message_id}" class="message__presentation" dir="auto" data-message-id="${m.id}"
    data-message-updated-at="${m.updated_at_ms}" data-content-type="${m.content_type}" data-emoji-only="${m.emoji_only}"
    data-mentionee-ids="${m.mentionee_ids.join(",")}" data-links='${escaped(m.links)}' data-sound='${escaped(m.sound)}'
    data-plain-text="${attribute(m.plain_text)}"${own}>\n  ${inner}\n</div>`;
}

export function messageMarkup(m: Message): string {
  return `<div id="message_${m.client_message_id}" class="message" data-message-id="${m.id}" data-client-message-id="${m.client_message_id}"
    data-room-id="${m.room_id}" data-user-id="${m.creator.id}" data-message-timestamp="${m.timestamp}" data-message-updated-at="${m.updated_at_ms}"
    data-sort-value="${m.sort_value}" data-creator='${escaped(m.creator)}' data-path="${m.path}"${ownOf(m)}>
    <div class="message__body"><div class="message__body-content">${presentationMarkup(m, "")}
    <div class="boosts" id="boosts_message_${m.client_message_id}">${m.boosts.map((boost) => boostMarkup(boost, "")).join("")}</div></div></div></div>`;
}

const publicly =
  "involvement involvement_label next_involvement unread unread_since_ms mentions can_administer invitation";

/** A room in the sidebar, as everybody hears of it. */
export function roomMarkup(room: Room): string {
  const own = told(room, "members", ...publicly.split(" "));
  const members = room.members ? ` data-members='${escaped(room.members)}'` : "";
  return `<a id="list_room_${room.id}" href="${room.path}" data-room-id="${room.id}"${members}${own}></a>`;
}

export const personMarkup = (user: User) => `<i id="person_${user.id}"${told(user)}></i>`;

export const stream = (action: string, target: string, content = "") =>
  `<turbo-stream action="${action}" target="${target}"><template>${content}</template></turbo-stream>`;

export const davidHH = person(1, "David Heinemeier Hansson");
export const jasonF = person(2, "Jason Fried");
export const kevin = person(3, "Kevin");

export const NOON = Date.parse("2026-01-02T12:00:00.678Z");

export function spoken(change: Partial<Message> = {}): Message {
  const timestamp = change.timestamp ?? NOON;
  return {
    id: 77,
    client_message_id: "k3x9",
    room_id: 5,
    creator: kevin,
    created_at: new Date(timestamp).toISOString(),
    updated_at: new Date(timestamp).toISOString(),
    timestamp,
    updated_at_ms: timestamp,
    sort_value: timestamp,
    content_type: "text",
    body_html: "<div>Hi <b>all</b></div>",
    plain_text: "Hi all",
    emoji_only: false,
    sound: null,
    mentionee_ids: [],
    links: [],
    boosts: [],
    path: "/rooms/5/@77",
    ...change,
  };
}

export const clap = {
  id: 12,
  message_id: 77,
  content: "👍",
  emoji_only: true,
  booster: person(9, "J'Z \"<&>"),
  created_at: "2026-01-02T12:01:00.000Z",
};
export const full = spoken({
  plain_text: 'She said "hi" & <left>\nsecond line',
  mentionee_ids: [3, 9],
  links: ["https://example.com/?a=1&b='2'"],
  boosts: [clap],
  updated_at: new Date(NOON + 5000).toISOString(),
  updated_at_ms: NOON + 5000,
});
export const sounding = spoken({
  client_message_id: "s",
  content_type: "sound",
  plain_text: "/play bell",
  body_html: '<div class="sound" data-sound-name="bell">🔔</div>',
  sound: { name: "bell", url: "/sounds/bell.mp3", text: "🔔", image: null },
});

export const sidebar: Sidebar = {
  directs: [ping(10, jasonF), ping(11, kevin)],
  shared: [room(1, "Watercooler"), room(2, "designers 🎨"), room(3, "HQ")],
  placeholders: [davidHH, kevin],
  can_create_rooms: true,
  total_unread: 0,
};
export const boot = {
  page: "room",
  status: 200,
  params: { room_id: 1, message_id: null },
  account: null,
  current_user: davidHH,
  csrf_token: "t",
  vapid_public_key: "",
  version: "1.0.0",
  features: START.features,
  cable_url: "/cable",
  streams: { rooms: "r", user_rooms: "u" },
  last_room_id: 1,
  server_time_ms: NOON,
  flash: { notice: null, alert: null },
  data: { room: room(1, "Watercooler", { unread: true }), messages: { messages: [] }, sidebar },
} as unknown as Boot;

// --- The room of the timeline --------------------------------------------------------------------

export const NOW = Date.parse("2026-01-02T12:00:00.000Z");
export const MINUTE = 60_000;

export const david = { id: 1, name: "David", role: "member" } as User;
export const jason = { id: 2, name: "Jason", role: "member" } as User;

/** Message `id`, said by Jason a minute after the one before. */
export function message(id: number, change: Partial<Message> = {}): Message {
  return spoken({
    id,
    client_message_id: `m${id}`,
    creator: jason,
    timestamp: NOW - 100_000 * MINUTE + id * MINUTE,
    body_html: `<div>words ${id}</div>`,
    plain_text: `words ${id}`,
    path: `/rooms/5/@${id}`,
    ...change,
  });
}

export const range = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, at) => message(from + at));

/** A room of messages 1 to `size`, and a server that serves and answers as the test says. */
export class World implements TimelineServer, TimelineHooks {
  readonly posts: { id: string; body: string; at: number }[] = [];
  readonly told: string[] = [];
  readonly arrivals: string[] = [];
  all: Message[];
  refusals = 0;
  /** What becomes of the next posts; then they are stored. */
  answers: (() => Promise<{ message: Message }>)[] = [];
  readonly timeline: Timeline;

  constructor(size: number, page?: Partial<MessagePage>) {
    this.all = range(1, size);
    this.timeline = new Timeline({
      page: this.roomPage(page),
      me: david,
      sounds: [{ name: "bell", url: "/sounds/bell.mp3", text: "🔔", image: null }],
      hooks: this,
      server: this,
    });
  }

  roomPage(page: Partial<MessagePage> = {}): RoomPage {
    const messages = page.messages ?? this.all.slice(-40);
    const has_before = (messages[0]?.id ?? 1) > 1;
    const has_after = (messages.at(-1)?.id ?? 0) < (this.all.at(-1)?.id ?? 0);
    return {
      room: { id: 5 } as Room,
      messages: { messages, has_before, has_after, highlighted_id: null, ...page },
      loaded_at_ms: NOW,
    };
  }

  before = async (id: number) => this.page(this.all.filter((m) => m.id < id).slice(-40));
  after = async (id: number) => this.page(this.all.filter((m) => m.id > id).slice(0, 40));
  around = async (id: number) => {
    const at = this.all.findIndex((m) => m.id === id);
    return at < 0
      ? this.roomPage().messages
      : this.page(this.all.slice(Math.max(0, at - 40), at + 41));
  };
  latest = async () => this.roomPage();
  page = (messages: Message[]): MessagePage | null =>
    messages.length === 0 ? null : this.roomPage({ messages }).messages;

  create(id: string, body: string): Promise<{ message: Message }> {
    this.posts.push({ id, body, at: Date.now() - NOW });
    const answer = this.answers.shift();
    return answer ? answer() : Promise.resolve({ message: this.store(id, body) });
  }

  store(id: string, body: string): Message {
    const known = this.all.find((m) => m.client_message_id === id);
    if (known) return known;
    const at = Date.now() + this.all.length;
    const stored = message(this.all.length + 1, {
      client_message_id: id,
      creator: david,
      body_html: body,
    });
    Object.assign(stored, { timestamp: at, sort_value: at, updated_at_ms: at, can_edit: true });
    this.all.push(stored);
    return stored;
  }

  update = async (id: number, body: string) => ({ message: message(id, { body_html: body }) });
  remove = async () => undefined;
  boost = async (id: number, content: string) => ({ boost: boost(90, id, content) });
  unboost = async () => undefined;

  arrived: TimelineHooks["arrived"] = (messages) =>
    void this.arrivals.push(...messages.map((m) => m.client_message_id));
  caughtUp = (count: number) => void this.told.push(`${count} new`);
  say = (text: string, how: string) => void this.told.push(`${how}: ${text}`);
  alert = (text: string) => void this.told.push(`alert: ${text}`);
  refused = () => {
    this.refusals += 1;
  };

  get ids(): string[] {
    return this.timeline.state().messages.map((m) => m.client_message_id);
  }

  get last() {
    return this.timeline.state().messages.at(-1);
  }

  /** The server has told what there was to catch up with, or that it was too much. */
  caughtUpTo = (last_seen_message_id: number, reset = false) =>
    this.timeline.caughtUp({ last_seen_message_id, server_time_ms: NOW + 9, reset });

  append(...messages: Message[]): void {
    this.timeline.receive({ type: "messages_appended", messages });
  }
}

export function boost(id: number, message_id: number, content: string, booster = david): Boost {
  return {
    id,
    message_id,
    content,
    emoji_only: false,
    booster,
    created_at: "2026-01-02T12:00:00Z",
  };
}

/** What becomes of a post. */
export const away = () => Promise.reject(new NetworkError("away"));
export const refuse =
  (status: number, words: string, retryAfter: number | null = null) =>
  () =>
    Promise.reject(new ApiError(status, { code: "no", message: words }, retryAfter));

/** Every order of some things. */
export function permutations<Item>(items: Item[]): Item[][] {
  if (items.length < 2) return [items];
  return items.flatMap((item, at) =>
    permutations(items.toSpliced(at, 1)).map((rest) => [item, ...rest]),
  );
}

/** Having sent "a" to a server that answers so. */
export async function sent(...answers: World["answers"]): Promise<World> {
  const world = new World(1);
  world.answers = answers;
  await world.timeline.send("a");
  await vi.advanceTimersByTimeAsync(0);
  return world;
}

/** What may happen to message 3. */
const edited = message(3, { body_html: "edited", updated_at_ms: NOW + 10 });
const { boosts: _, creator: __, ...words } = edited;
const presentation = { ...words, updated_at_ms: NOW + 5 };
export const news = {
  append: (w: World) => w.append(message(3)),
  edit: (w: World) => w.timeline.receive({ type: "message_replaced", message: edited }),
  words: (w: World) =>
    w.timeline.receive({ type: "presentation_replaced", client_message_id: "m3", presentation }),
  remove: (w: World) => w.timeline.receive({ type: "message_removed", client_message_id: "m3" }),
};

/** A list of bubbles 50 px tall in a window of 500. */
export class FakeView implements TimelineView {
  top = 0;
  readonly world: World;
  constructor(world: World) {
    this.world = world;
  }
  commit = (render: () => void) => render();
  measure = () => ({ top: this.top, height: this.world.ids.length * 50, client: 500 });
  scrollTo = (top: number) => {
    this.top = Math.max(0, Math.min(top, this.world.ids.length * 50 - 500));
  };
  center = (id: string) => this.scrollTo(this.world.ids.indexOf(id) * 50 - 225);
  offsetOf = (id: string) =>
    this.world.ids.includes(id) ? this.world.ids.indexOf(id) * 50 - this.top : null;
  painted = async () => undefined;
  firstVisible = (ids: readonly string[]) => ids.find((id) => (this.offsetOf(id) ?? -50) > -50);
}

/** What the browser says of itself, for once as the test has it. */
export function pretend(of: object, name: string, get: () => unknown): void {
  Object.defineProperty(of, name, { configurable: true, get });
}

/** A socket to nowhere: the library talks to it as to any other, and the test answers. */
export class Line {
  static OPEN = 1;
  static CONNECTING = 0;
  static CLOSED = 3;
  static lines: Line[] = [];
  readonly protocol = "actioncable-v1-json";
  readyState = 0;
  sent: { command: string; channel: string; data?: { action: string } }[] = [];
  onopen: () => void = () => undefined;
  onclose: (event: object) => void = () => undefined;
  onmessage: (event: { data: string }) => void = () => undefined;

  constructor() {
    Line.lines.push(this);
  }

  send(frame: string): void {
    const { command, identifier, data } = JSON.parse(frame);
    const { channel } = JSON.parse(identifier);
    this.sent.push({ command, channel, ...(data ? { data: JSON.parse(data) } : {}) });
    if (command !== "subscribe") return;
    queueMicrotask(() => this.hear({ type: "confirm_subscription", identifier }));
  }

  hear(frame: object): void {
    this.onmessage({ data: JSON.stringify(frame) });
  }

  answer(): void {
    this.readyState = Line.OPEN;
    this.onopen();
    this.hear({ type: "welcome" });
  }

  close(): void {
    this.readyState = Line.CLOSED;
    this.onclose({});
  }

  said(channel: string): string[] {
    const own = this.sent.filter((frame) => frame.channel === channel && frame.data);
    return own.map(({ data }) => data?.action ?? "");
  }
}
