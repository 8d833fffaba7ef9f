/** The live connection: one Action Cable consumer, its lists, the way back, and its streams. */
import { type Consumer, createConsumer, type Subscription } from "@rails/actioncable";
import type { Boost, Message, Preview, Room, Sidebar, User } from "./api";
import * as api from "./api";
import { unfetch, visit } from "./browser";
import {
  A_WHILE,
  type Presentation,
  type RoomEvent,
  type TimelineServer,
  type TimelineState,
} from "./messages";
import { apply, getState, type Observable, roomsIn, type SidebarRoom, sidebarRoom } from "./store";
import { hostOf, inert } from "./text";
import { askAgainForPictures } from "./trouble";

const OFFLINE_AFTER = 5000;
/** Before each try to come back, in milliseconds: a server that restarts is there in a second. */
const REOPEN_AFTER = [250, 250, 250, 250, 250, 250, 1000, 2000, 3000, 5000] as const;

// --- The connection -----------------------------------------------------------------------------

let consumer: Consumer | null = null;
let leavePage: (() => void) | null = null;

/** The consumer is made once: React mounting a screen twice must not open two sockets. */
function cable(): Consumer {
  consumer ??= createConsumer(getState().cable_url);
  return consumer;
}

type Connection = { reopen(): void; isActive(): boolean; isOpen(): boolean };

/** The part of the consumer its type does not tell of. */
export function connection(): Connection {
  return (cable() as unknown as { connection: Connection }).connection;
}

/** Joins the streams of the whole page, once per person signed in. */
export function connect(random: () => number = Math.random): void {
  const { streams } = getState();
  if (leavePage || !streams) return;
  const heartbeat = new Heartbeat(random);
  const subscriptions = [
    join("HeartbeatChannel", {}, heartbeat),
    join(
      "UnreadRoomsChannel",
      {},
      {
        connected: heartbeat.afterFirst(refreshSidebar),
        received({ roomId: room_id, seen, mention }: Unread) {
          unfetch(`/rooms/${room_id}`);
          // A room is only looked at in a window that is seen.
          const away = document.visibilityState !== "visible";
          apply({ type: "room_unread", room_id, at_ms: Date.now(), seen, mention, away });
        },
      },
    ),
    join(
      "ReadRoomsChannel",
      {},
      {
        received: ({ room_id }: { room_id: number }) => apply({ type: "room_read", room_id }),
      },
    ),
    joinLists(streams.rooms, true),
    joinLists(streams.user_rooms, false),
  ];
  leavePage = () => {
    heartbeat.stop();
    for (const subscription of subscriptions) subscription.unsubscribe();
    consumer?.disconnect();
    consumer = null;
    leavePage = null;
  };
}

/** Signed out: no socket, and nothing to say about it. */
export function disconnect(): void {
  leavePage?.();
  apply({ type: "connection_changed", connected: true });
}

/** `seen`: I wrote it, or look at the room somewhere. */
type Unread = { roomId: number; seen?: boolean; mention?: boolean };

type Disconnection = { willAttemptReconnect: boolean | undefined };

interface Callbacks {
  connected?(): void;
  disconnected?(how: Disconnection): void;
  rejected?(): void;
  // biome-ignore lint/suspicious/noExplicitAny: each channel knows its own payload
  received?(payload: any): void;
}

/** The library copies a mixin's own functions and calls them on itself: ours stay with their object. */
export function join(channel: string, params: object, callbacks: Callbacks): Subscription {
  return cable().subscriptions.create(
    { channel, ...params },
    {
      connected: () => callbacks.connected?.(),
      disconnected: (how: Disconnection) => callbacks.disconnected?.(how),
      rejected: () => callbacks.rejected?.(),
      received: (payload: unknown) => callbacks.received?.(payload),
    },
  );
}

function joinLists(signed_stream_name: string, everybodys: boolean): Subscription {
  return join(
    "Turbo::StreamsChannel",
    { signed_stream_name },
    {
      received(html: string) {
        for (const event of parseStreams(html)) {
          if (event.type === "person_changed" || event.type === "person_left") apply(event);
          if (event.type === "room_listed" || event.type === "room_renamed") apply(event);
          // What leaves everybody's list is deleted; what leaves mine may only be hidden.
          if (event.type === "room_delisted")
            apply({ type: "room_removed", room_id: event.room_id, deleted: everybodys });
        }
        heal();
      },
    },
  );
}

export function refreshSidebar(): void {
  const loaded = (sidebar: Sidebar) => {
    apply({ type: "sidebar_loaded", sidebar });
    heal();
  };
  api.sidebar().then(loaded, () => undefined);
}

/** The room on screen was closed to me, and is listed again: it is opened anew. */
function heal(): void {
  const { room, room_gone, route } = getState();
  const listed = roomsIn(getState()).some(({ id }) => id === room?.id);
  if (room_gone && listed) visit(route.path, { replace: true });
}

/** Says online and offline, and is quicker to reconnect than the library's own monitor. */
class Heartbeat implements Callbacks {
  readonly #random: () => number;
  readonly #gone = new AbortController();
  #offline: ReturnType<typeof setTimeout> | undefined;
  #next: ReturnType<typeof setTimeout> | undefined;
  #reopen = () => {
    if (document.visibilityState === "visible" && !connection().isActive()) connection().reopen();
  };
  #networkChanged = () => {
    apply({ type: "network_changed", network: navigator.onLine });
    // What the browser believes is wrong at times: a connection that lives through it counts more.
    if (!navigator.onLine) this.#expectConnection();
    else if (connection().isOpen()) this.connected();
  };

  constructor(random: () => number) {
    this.#random = random;
    this.#expectConnection();
    this.#networkChanged();
    this.#comeBack();
    addEventListener("visibilitychange", this.#reopen, this.#gone);
    addEventListener("online", this.#reopen, this.#gone);
    addEventListener("online", this.#networkChanged, this.#gone);
    addEventListener("offline", this.#networkChanged, this.#gone);
  }

  connected(): void {
    clearTimeout(this.#offline);
    clearTimeout(this.#next);
    apply({ type: "connection_changed", connected: true });
    askAgainForPictures();
  }

  disconnected({ willAttemptReconnect }: Disconnection): void {
    this.#expectConnection();
    // Refused for good: the session has ended. The server says where to go when asked for anything.
    if (!willAttemptReconnect) {
      refreshSidebar();
      return;
    }
    this.#comeBack();
  }

  /** Tries until it is back. A little sooner at random: after a restart everybody comes at once. */
  #comeBack(tries = 0): void {
    clearTimeout(this.#next);
    const wait = REOPEN_AFTER[tries] ?? 5000;
    const again = () => {
      this.#reopen();
      this.#comeBack(tries + 1);
    };
    this.#next = setTimeout(again, wait * (1 - this.#random() / 5));
  }

  /** `then` on every connection but the first, when the page itself is the news. */
  afterFirst(then: () => void): () => void {
    let before = false;
    return () => {
      if (before) then();
      before = true;
    };
  }

  stop(): void {
    clearTimeout(this.#offline);
    clearTimeout(this.#next);
    this.#gone.abort();
  }

  #expectConnection(): void {
    clearTimeout(this.#offline);
    this.#offline = setTimeout(
      () => apply({ type: "connection_changed", connected: false }),
      OFFLINE_AFTER,
    );
  }
}

// --- Turbo Streams, as typed events -------------------------------------------------------------

/** What a stream tells: about a room's messages, or about the lists in the sidebar. */
export type StreamEvent =
  | RoomEvent
  | { type: "room_listed"; room: SidebarRoom }
  | { type: "room_renamed"; room: SidebarRoom }
  | { type: "room_delisted"; room_id: number }
  | { type: "person_changed"; user: User; joined: boolean }
  | { type: "person_left"; user_id: number };

/** The events in some Turbo Stream HTML, which is parsed where nothing in it loads or runs. */
export function parseStreams(html: string): StreamEvent[] {
  const template = document.createElement("template");
  template.innerHTML = html;
  return [...template.content.querySelectorAll("turbo-stream")].flatMap((stream) => {
    const event = streamEvent(
      stream.getAttribute("action") ?? "",
      stream.getAttribute("target") ?? "",
      stream.querySelector("template")?.content ?? document.createDocumentFragment(),
    );
    return event ? [event] : [];
  });
}

function streamEvent(
  action: string,
  target: string,
  content: DocumentFragment,
): StreamEvent | null {
  const [, kind = "", id = ""] = STREAM_TARGET.exec(target) ?? [];
  switch (`${action} ${kind}`) {
    case "append messages_room_":
      return { type: "messages_appended", messages: elements(content, ".message").map(messageOf) };
    case "replace presentation_message_":
      return presentationEvent(id, content);
    case "replace message_": {
      const [element] = elements(content, ".message");
      return element ? { type: "message_replaced", message: messageOf(element) } : null;
    }
    case "remove message_":
      return { type: "message_removed", client_message_id: id };
    case "append boosts_message_": {
      const [element] = elements(content, ".boost");
      return element
        ? { type: "boost_added", client_message_id: id, boost: boostOf(element) }
        : null;
    }
    case "remove boost_":
      return { type: "boost_removed", boost_id: Number(id) };
    case "prepend shared_rooms":
    case "prepend direct_rooms":
      return roomEvent("room_listed", content);
    case "replace list_room_":
      return roomEvent("room_renamed", content);
    case "append people":
    case "replace person_": {
      const [element] = elements(content, "[data-json]");
      const joined = action === "append";
      return element ? { type: "person_changed", user: told(element), joined } : null;
    }
    case "replace star_": {
      const [element] = elements(content, "[data-json]");
      return element ? { type: "room_renamed", room: sidebarRoom(told<Room>(element)) } : null;
    }
    case "remove person_":
      return { type: "person_left", user_id: Number(id) };
    case "remove list_room_":
      return { type: "room_delisted", room_id: Number(id) };
    default:
      return null;
  }
}

const STREAM_TARGET =
  /^(messages_room_|presentation_message_|boosts_message_|message_|boost_|list_room_|star_|person_|shared_rooms|direct_rooms|people)(.*)$/;

function presentationEvent(id: string, content: DocumentFragment): RoomEvent | null {
  const [element] = elements(content, ".message__presentation");
  if (!element) return null;
  const presentation = presentationOf(element);
  return { type: "presentation_replaced", client_message_id: id, presentation };
}

function roomEvent(type: "room_listed" | "room_renamed", content: ParentNode): StreamEvent | null {
  const [element] = elements(content, "[data-room-id]");
  return element ? { type, room: roomOf(element) } : null;
}

// --- Messages from their elements ----------------------------------------------------------------

function elements(root: ParentNode, selector: string): HTMLElement[] {
  return [...root.querySelectorAll<HTMLElement>(selector)].filter(
    // A message that could not be rendered carries no data, and so no id to be known by.
    (element) => Object.keys(element.dataset).length > 0,
  );
}

/** What an element of a stream says: JSON as the API tells it, but for what stands beside it. */
const told = <Value>(element: HTMLElement): Value => json(element.dataset.json);

/** The message of an element, which says beside its JSON who wrote it, and shows the text. */
function messageOf(element: HTMLElement): Message {
  const presentation = element.querySelector<HTMLElement>(".message__presentation");
  const creator = json<User>(element.dataset.creator);
  return { ...told<Message>(element), creator, ...textOf(presentation) };
}

function textOf(element: HTMLElement | null): Pick<Message, "body_html" | "plain_text"> {
  const shown =
    element?.querySelector(":scope > .sound")?.outerHTML ??
    element?.querySelector(".trix-content")?.innerHTML;
  return { body_html: (shown ?? "").trim(), plain_text: element?.dataset.plainText ?? "" };
}

/** What an edit changed, of the element that shows it. */
function presentationOf(element: HTMLElement): Presentation {
  // A boost may have come meanwhile: what else it says of the message is older.
  const { boosts: _, ...message } = told<Message>(element);
  return { ...message, ...textOf(element) };
}

function boostOf(element: HTMLElement): Boost {
  return { ...told<Boost>(element), booster: json<User>(element.dataset.booster) };
}

/** A room of the lists, as everybody in it hears of it: who has read it, is not said. */
function roomOf(element: HTMLElement): SidebarRoom {
  const members = json<User[] | null>(element.dataset.members);
  const room = told<Room>(element);
  const starred = roomsIn(getState()).some(({ id, starred }) => id === room.id && starred);
  return sidebarRoom({ ...room, starred, unread: false, mentions: 0, members });
}

function json<Value>(text: string | undefined): Value {
  return JSON.parse(text ?? "null") as Value;
}

// --- Arriving, and shown ------------------------------------------------------------------------

/** What comes in one go is shown in one go: a flood of messages is rendered once, not each time. */
export class Inbox {
  readonly #open: (messages: Message[]) => void;
  #waiting: Message[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(open: (messages: Message[]) => void) {
    this.#open = open;
  }

  add(messages: readonly Message[]): void {
    this.#waiting.push(...messages);
    this.#timer ??= setTimeout(() => this.empty());
  }

  empty(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const messages = this.#waiting.splice(0);
    if (messages.length > 0) this.#open(messages);
  }
}

/** A page as the server draws it too. */
export function cardOf(page: Preview): HTMLElement {
  const card = inert(`<div class="og-embed gap"><div class="og-embed__content"><div
    class="og-embed__host"></div><div class="og-embed__title"><a target="_blank"
    rel="noopener noreferrer"></a></div><div class="og-embed__description"></div></div><div
    class="og-embed__image"><img class="image center" alt="" loading="lazy"
    decoding="async"></div></div>`).firstElementChild as HTMLElement;
  const part = (name: string) => card.querySelector(`.og-embed__${name}`);
  const fill = (element: Element | null | undefined, text: string | null) => {
    if (element) element.textContent = text;
    if (!text) element?.remove();
  };
  card.classList.toggle("cf-twitter-avatar", page.portrait);
  fill(part("host"), hostOf(page.url).replace(/^www\./, ""));
  fill(part("title")?.firstElementChild, page.title);
  fill(part("description"), page.description);
  card.querySelector("a")?.setAttribute("href", page.url);
  const picture = card.querySelector("img");
  if (!(picture && page.image)) part("image")?.remove();
  else
    Object.assign(picture, {
      src: page.image,
      width: page.image_width ?? 0,
      height: page.image_height ?? 0,
    });
  return card;
}

// --- Who looks, and what is asked for --------------------------------------------------------------

const PRESENCE_EVERY = 50_000;
const VISIBILITY_DELAY = 5000;

/** Present while the page can be seen; brief glances elsewhere are not told. */
export class Presence {
  readonly #room_id: number;
  readonly #timeline: Observable<TimelineState>;
  readonly #comeBack: (seen: number | null) => void;
  #seen: number | null = null;
  subscription: Pick<Subscription, "perform"> | null = null;
  #visible = document.visibilityState === "visible";
  #hiddenAt = 0;
  #refresh: ReturnType<typeof setInterval> | undefined;
  #check: ReturnType<typeof setTimeout> | undefined;

  /** `comeBack` is told what the newest message was, when the page is looked at again after a while. */
  constructor(
    room_id: number,
    timeline: Observable<TimelineState>,
    comeBack: (seen: number | null) => void,
  ) {
    this.#room_id = room_id;
    this.#timeline = timeline;
    this.#comeBack = comeBack;
    document.addEventListener("visibilitychange", this.#looked);
  }

  connected(): void {
    this.#start();
  }

  disconnected(): void {
    clearInterval(this.#refresh);
  }

  stop(): void {
    document.removeEventListener("visibilitychange", this.#looked);
    clearTimeout(this.#check);
    clearInterval(this.#refresh);
  }

  #looked = (): void => {
    const visible = document.visibilityState === "visible";
    if (!visible) {
      const { messages, up_to_date } = this.#timeline.state();
      this.#hiddenAt = Date.now();
      this.#seen = up_to_date ? (messages.findLast(({ id }) => id > 0)?.id ?? 0) : null;
    } else {
      apply({ type: "room_read", room_id: this.#room_id });
      if (this.#hiddenAt > 0 && Date.now() - this.#hiddenAt > A_WHILE) this.#comeBack(this.#seen);
    }
    clearTimeout(this.#check);
    this.#check = setTimeout(() => this.#settle(), VISIBILITY_DELAY);
  };

  #settle(): void {
    const visible = document.visibilityState === "visible";
    if (visible === this.#visible) return;
    this.#visible = visible;
    this.subscription?.perform(visible ? "present" : "absent");
    if (visible) this.#start();
    else clearInterval(this.#refresh);
  }

  #start(): void {
    clearInterval(this.#refresh);
    if (!this.#visible) return;
    this.#refresh = setInterval(() => this.subscription?.perform("refresh"), PRESENCE_EVERY);
  }
}

/** The endpoints of one room's messages. */
export const serverFor = (room_id: number): TimelineServer => ({
  before: (id) => api.messagesAt(room_id, "before", id),
  after: (id) => api.messagesAt(room_id, "after", id),
  around: (id) => api.messagesAt(room_id, "around", id),
  latest: () => api.room(room_id),
  create: (client_message_id, body) => api.createMessage(room_id, client_message_id, body),
  update: (id, body) => api.updateMessage(room_id, id, body),
  remove: (id) => api.deleteMessage(room_id, id),
  boost: api.boost,
  unboost: api.unboost,
});
