/**
 * The live connection: one Action Cable consumer for the page, the Turbo Streams it brings turned
 * into typed events, and what this client tells in return (presence, typing, what it has seen).
 */
import { type Consumer, createConsumer, type Subscription } from "@rails/actioncable";
import type { Room, RoomPage, RoomType, Sidebar, User } from "./api";
import * as api from "./api";
import { drafts, player } from "./browser";
import type { CaughtUp, RoomEvent, TimelineMessage } from "./messages";
import { Announcer, announce, apply, flash, getState, type SidebarRoom } from "./store";
import { boostOf, elements, json, messageOf, presentationOf, sentence } from "./text";
import { Timeline } from "./timeline";

export const OFFLINE_AFTER = 5000;
export const EARLY_REOPEN = [500, 2500] as const;
export const PRESENCE_EVERY = 50_000;
export const VISIBILITY_DELAY = 5000;
export const STALE_AFTER = 60_000;
export const TYPING_EVERY = 1000;
export const TYPING_LIFE = 5000;

// --- Turbo Streams ------------------------------------------------------------------------------

/** What a stream tells: about a room's messages, or about the lists in the sidebar. */
export type StreamEvent =
  | RoomEvent
  | { type: "room_listed"; room: SidebarRoom }
  | { type: "room_renamed"; room: SidebarRoom }
  | { type: "room_delisted"; room_id: number };

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
    case "remove list_room_":
      return { type: "room_delisted", room_id: Number(id) };
    default:
      return null;
  }
}

const STREAM_TARGET =
  /^(messages_room_|presentation_message_|boosts_message_|message_|boost_|list_room_|shared_rooms|direct_rooms)(.*)$/;

function presentationEvent(id: string, content: DocumentFragment): RoomEvent | null {
  const [element] = elements(content, ".message__presentation");
  if (!element) return null;
  const presentation = presentationOf(element);
  return { type: "presentation_replaced", client_message_id: id, presentation };
}

function roomEvent(type: "room_listed" | "room_renamed", content: ParentNode): StreamEvent | null {
  const [element] = elements(content, "[data-room-id]");
  if (!element) return null;
  const data = element.dataset;
  const members = data.members ? json<User[]>(data.members) : null;
  const room: SidebarRoom = {
    id: Number(data.roomId),
    type: data.roomType as RoomType,
    display_name: members ? sentence(members.map(({ name }) => name)) : (data.sortedListName ?? ""),
    path: element.getAttribute("href") ?? "",
    unread: element.classList.contains("unread"),
    updated_at_ms: Number(data.sortedListNumber ?? 0),
    members,
  };
  return { type, room };
}

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
function connection(): Connection {
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
        received: ({ roomId }: { roomId: number }) =>
          apply({ type: "room_unread", room_id: roomId, at_ms: Date.now() }),
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

type Disconnection = { willAttemptReconnect: boolean | undefined };

interface Callbacks {
  connected?(): void;
  disconnected?(how: Disconnection): void;
  rejected?(): void;
  // biome-ignore lint/suspicious/noExplicitAny: each channel knows its own payload
  received?(payload: any): void;
}

/** The library copies a mixin's own functions and calls them on itself: ours stay with their object. */
function join(channel: string, params: object, callbacks: Callbacks): Subscription {
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
          if (event.type === "room_listed" || event.type === "room_renamed") apply(event);
          // What leaves everybody's list is deleted; what leaves mine may only be hidden.
          if (event.type === "room_delisted")
            apply({ type: "room_removed", room_id: event.room_id, deleted: everybodys });
        }
      },
    },
  );
}

export function refreshSidebar(): void {
  const loaded = (sidebar: Sidebar) => apply({ type: "sidebar_loaded", sidebar });
  api.sidebar().then(loaded, () => undefined);
}

/** Says online and offline, and is quicker to reconnect than the library's own monitor. */
class Heartbeat implements Callbacks {
  readonly #random: () => number;
  #offline: ReturnType<typeof setTimeout> | undefined;
  #early: ReturnType<typeof setTimeout> | undefined;
  #goOnline = () => this.#reopen();
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
    addEventListener("online", this.#goOnline);
    addEventListener("online", this.#networkChanged);
    addEventListener("offline", this.#networkChanged);
  }

  connected(): void {
    clearTimeout(this.#offline);
    clearTimeout(this.#early);
    apply({ type: "connection_changed", connected: true });
  }

  disconnected({ willAttemptReconnect }: Disconnection): void {
    this.#expectConnection();
    // Refused for good: the session has ended. The server says where to go when asked for anything.
    if (!willAttemptReconnect) {
      refreshSidebar();
      return;
    }
    const [soonest, latest] = EARLY_REOPEN;
    clearTimeout(this.#early);
    // At random, because after a restart everybody comes back at once.
    this.#early = setTimeout(() => this.#reopen(), soonest + this.#random() * (latest - soonest));
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
    clearTimeout(this.#early);
    removeEventListener("online", this.#goOnline);
    removeEventListener("online", this.#networkChanged);
    removeEventListener("offline", this.#networkChanged);
  }

  #expectConnection(): void {
    clearTimeout(this.#offline);
    this.#offline = setTimeout(
      () => apply({ type: "connection_changed", connected: false }),
      OFFLINE_AFTER,
    );
  }

  #reopen(): void {
    if (!connection().isActive()) connection().reopen();
  }
}

// --- A room -------------------------------------------------------------------------------------

/** Who is typing here, and telling others that I am. */
export class Typing {
  readonly #names = new Map<number, { name: string; at: number }>();
  readonly #listeners = new Set<() => void>();
  #shown: readonly string[] = [];
  #told = Number.NEGATIVE_INFINITY;
  #tick: ReturnType<typeof setInterval> | undefined;
  subscription: Pick<Subscription, "perform"> | null = null;

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Sorted; the same array until it changes. */
  names = (): readonly string[] => this.#shown;

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
    if (names.join("\n") === this.#shown.join("\n")) return;
    this.#shown = names;
    for (const tell of this.#listeners) tell();
  }

  forget(): void {
    this.#names.clear();
    this.#show();
  }
}

/** Present while the page can be seen; brief glances elsewhere are not told. */
class Presence implements Callbacks {
  readonly #comeBack: () => void;
  subscription: Pick<Subscription, "perform"> | null = null;
  #visible = document.visibilityState === "visible";
  #hiddenAt = 0;
  #refresh: ReturnType<typeof setInterval> | undefined;
  #check: ReturnType<typeof setTimeout> | undefined;

  /** `comeBack` is called when the page is looked at again after a minute or more. */
  constructor(comeBack: () => void) {
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
    if (!visible) this.#hiddenAt = Date.now();
    else if (this.#hiddenAt > 0 && Date.now() - this.#hiddenAt > STALE_AFTER) this.#comeBack();
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

/** A room on the screen: its messages, who is typing, and the channels that feed both. */
export class RoomSession {
  readonly room: Room;
  readonly timeline: Timeline;
  readonly typing = new Typing();
  readonly #announcer = new Announcer();

  constructor(page: RoomPage) {
    const { me, sounds } = getState();
    if (!me) throw new Error("A room needs somebody in it.");
    this.room = page.room;
    const room_id = page.room.id;
    this.timeline = new Timeline({
      page,
      me,
      sounds,
      hooks: {
        arrived: (messages) => this.#arrived(messages, me.id),
        caughtUp: (count) => announce(count === 1 ? "1 new message" : `${count} new messages`),
        say: announce,
        alert: (text) => flash("alert", text),
        refused: () => apply({ type: "room_refused", room_id }),
        unsent: (html) => drafts.unsent(room_id, html),
      },
    });
  }

  /** Joins the room's channels; the result leaves them. */
  open(): () => void {
    const { id, streams } = this.room;
    const presence = new Presence(() => {
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
    const unload = () => this.timeline.close({ unloading: true });
    addEventListener("online", retry);
    addEventListener("pagehide", unload);
    return () => {
      removeEventListener("online", retry);
      removeEventListener("pagehide", unload);
      presence.stop();
      this.typing.stop();
      this.typing.forget();
      for (const subscription of [messages, seat, typing]) subscription.unsubscribe();
      this.timeline.close({ unloading: false });
    };
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
        rejected: () => apply({ type: "room_refused", room_id: this.room.id }),
        received: (payload: string | CaughtUp) => {
          if (typeof payload !== "string") void this.timeline.caughtUp(payload);
          else for (const event of parseStreams(payload)) this.#receive(event);
        },
      },
    );
    return subscription;
  }

  #receive(event: StreamEvent): void {
    if (event.type === "room_listed" || event.type === "room_renamed") return;
    if (event.type !== "room_delisted") this.timeline.receive(event);
  }

  #catchUp(subscription: Subscription): void {
    subscription.perform("catch_up", this.timeline.catchUp());
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
