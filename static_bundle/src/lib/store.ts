/**
 * Everything on the screen that more than one component shows, as one immutable object. News from
 * the cable, answers to our own requests and the boot data all come in through `apply`.
 * Messages are not here: each open room has its own model in timeline.ts.
 */
import { useSyncExternalStore } from "react";
import type {
  Account,
  AnonymousAccount,
  Attachment,
  Boot,
  Features,
  Involvement,
  PageName,
  Params,
  Room,
  RoomType,
  Sidebar,
  Sound,
  User,
} from "./api";
import { byName, sentence } from "./text";
import { alertIn, NO_NETWORK, sentenceOf } from "./trouble";

/** How many people the strip of pings shows, in pings or to be pinged. */
const PEOPLE = 20;

/** A room as the sidebar shows it: what both the JSON and the broadcast markup can tell. */
export interface SidebarRoom {
  id: number;
  type: RoomType;
  /** The room's name; for a ping, its people joined like a sentence. */
  display_name: string;
  topic: string | null;
  path: string;
  unread: boolean;
  starred: boolean;
  mentions: number;
  updated_at_ms: number;
  /** Pings only, else null. */
  members: User[] | null;
}

export interface SidebarState {
  /** Most recent activity first. */
  directs: readonly SidebarRoom[];
  /** By name. */
  shared: readonly SidebarRoom[];
  placeholders: readonly User[];
  can_create_rooms: boolean;
}

export interface Flash {
  kind: "notice" | "alert";
  text: string;
  /** Another one for every flash, so that the same words twice are two flashes. */
  key: number;
}

/** What a live region reads out; the key changes even when the words do not. */
type Announcement = { text: string; key: number };

/** What covers the page. */
export type Viewed =
  | { kind: "help" | "switcher"; typed?: string }
  | { kind: "qr"; url: string; title: string }
  | { kind: "emoji"; used: readonly string[]; pick: (emoji: string) => void }
  | { kind: "file"; files: readonly Attachment[]; index: number };

interface Route {
  /** Path and query of the page on screen. */
  path: string;
  page: PageName;
  params: Params;
}

export interface State {
  route: Route;
  account: Account | AnonymousAccount | null;
  /** Null while nobody is signed in. */
  me: User | null;
  features: Features;
  version: string;
  vapid_public_key: string;
  cable_url: string;
  streams: { rooms: string; user_rooms: string } | null;
  help_contact: { name: string; email_address: string } | null;
  sounds: readonly Sound[];
  last_room_id: number | null;
  /** Null until a page brought it or `loadSidebar` asked for it. */
  sidebar: SidebarState | null;
  /** The room on screen, as the server last told it; null on other screens. */
  room: Room | null;
  /** The room on screen was deleted while I looked at it, or it is not known why it is closed. */
  room_gone: false | "deleted" | "refused";
  /** The names of those who joined while I looked; the last few. */
  joined: readonly string[];
  /** Bells of every room that any screen has shown. */
  involvements: Readonly<Record<number, Involvement>>;
  /** Off after 5 s without the cable, or a network. True on pages without one. */
  connected: boolean;
  /** What the browser says of its network (`navigator.onLine`). */
  network: boolean;
  /** A navigation is under way for more than 300 ms. */
  loading: boolean;
  flash: Flash | null;
  /** How many there have been; the last one's key. */
  flashes: number;
  polite: Announcement;
  assertive: Announcement;
  viewed: Viewed | null;
}

/** News of a room: I have seen them, I am named in them, I look at no room now. */
type News = { room_id: number; at_ms: number } & {
  [Known in "seen" | "mention" | "away"]?: boolean | undefined;
};

/** Everything that can happen to the state. The first group arrives by cable. */
export type AppEvent =
  | { type: "room_listed"; room: SidebarRoom }
  | { type: "room_renamed"; room: SidebarRoom }
  | { type: "person_changed"; user: User; joined: boolean }
  | { type: "person_left"; user_id: number }
  | { type: "room_removed"; room_id: number; deleted: boolean }
  | { type: "room_refused"; room_id: number }
  | ({ type: "room_unread" } & News)
  | { type: "room_read"; room_id: number }
  | { type: "connection_changed"; connected: boolean }
  | { type: "network_changed"; network: boolean }
  | { type: "booted"; boot: Boot; path: string }
  | { type: "loading_changed"; loading: boolean }
  | { type: "sidebar_loaded"; sidebar: Sidebar }
  | { type: "involvement_changed"; room_id: number; involvement: Involvement }
  | { type: "account_changed"; account: Account }
  | { type: "me_changed"; user: User }
  | { type: "flashed"; kind: Flash["kind"]; text: string }
  | { type: "flash_over"; key: number }
  | { type: "announced"; text: string; assertive: boolean }
  | { type: "viewed"; item: Viewed | null };

export const START: State = {
  route: { path: "/", page: "welcome", params: {} },
  account: null,
  me: null,
  features: { files: false, avatars: false, opengraph: false, max_file_bytes: 0 },
  version: "",
  vapid_public_key: "",
  cable_url: "/cable",
  streams: null,
  help_contact: null,
  sounds: [],
  last_room_id: null,
  sidebar: null,
  room: null,
  room_gone: false,
  joined: [],
  involvements: {},
  connected: true,
  network: true,
  loading: false,
  flash: null,
  flashes: 0,
  polite: { text: "", key: 0 },
  assertive: { text: "", key: 0 },
  viewed: null,
};

export function reduce(state: State, event: AppEvent): State {
  switch (event.type) {
    case "booted":
      return boot(state, event.boot, event.path);
    case "loading_changed":
      return state.loading === event.loading ? state : { ...state, loading: event.loading };
    case "sidebar_loaded":
      return { ...state, sidebar: sidebarFrom(event.sidebar, roomOnScreen(state)) };
    case "room_listed":
      return inSidebar(state, (sidebar) => listed(sidebar, event.room));
    case "room_renamed":
      return renamed(state, event.room);
    case "person_changed":
      return withPerson(state, event.user, event.joined);
    case "person_left":
      return inSidebar(state, (sidebar) => ({
        ...sidebar,
        placeholders: sidebar.placeholders.filter(({ id }) => id !== event.user_id),
      }));
    case "room_removed":
      return removed(state, event.room_id, event.deleted);
    case "room_refused":
      return state.room?.id === event.room_id
        ? { ...state, room_gone: state.room_gone || "refused" }
        : state;
    case "room_unread":
      return inSidebar(state, (lists) => unread(lists, event, roomOnScreen(state)));
    case "room_read":
      return inSidebar(state, (sidebar) => read(sidebar, event.room_id));
    case "involvement_changed":
      return withInvolvement(state, event.room_id, event.involvement);
    case "account_changed":
      return { ...state, account: event.account };
    case "me_changed":
      return { ...state, me: event.user };
    case "connection_changed":
      return state.connected === event.connected ? state : { ...state, connected: event.connected };
    case "network_changed":
      return state.network === event.network ? state : { ...state, network: event.network };
    case "flashed":
      return flashed(state, event.kind, event.text);
    case "flash_over":
      return state.flash?.key === event.key ? { ...state, flash: null } : state;
    case "announced":
      return announced(state, event.text, event.assertive);
    case "viewed":
      return { ...state, viewed: event.item };
    default:
      return event satisfies never;
  }
}

/** What changes, and who wants to know: one value at a time, outside React and readable in it. */
export class Observable<Value> {
  #state: Value;
  readonly #listeners = new Set<() => void>();

  constructor(state: Value) {
    this.#state = state;
  }

  /** The same object until it changes. */
  readonly state = (): Value => this.#state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  set(state: Value): void {
    if (Object.is(state, this.#state)) return;
    this.#state = state;
    for (const tell of this.#listeners) tell();
  }

  change(change: Partial<Value>): void {
    this.set({ ...this.#state, ...change });
  }
}

/** What it is now, in a component that follows it. */
export const useObservable = <Value>({ subscribe, state }: Observable<Value>): Value =>
  useSyncExternalStore(subscribe, state);

const store = new Observable(START);
export const { state: getState, subscribe } = store;

/** The only way state changes, whether the news came by socket or as an answer to us. */
export function apply(event: AppEvent): void {
  store.set(reduce(getState(), event));
}

/** `select` must return something already in the state: a fresh object re-renders forever. */
export function useStore<Slice>(select: (state: State) => Slice): Slice {
  return useSyncExternalStore(subscribe, () => select(getState()));
}

// --- Selectors --------------------------------------------------------------------------------

export const isAdministrator = (state: State): boolean => state.me?.role === "administrator";
export const isReduced = (state: State): boolean => !state.connected;
export const roomsIn = ({ sidebar }: Pick<State, "sidebar">): readonly SidebarRoom[] =>
  sidebar ? [...sidebar.directs, ...sidebar.shared] : [];
export const unreadCount = (state: State): number =>
  roomsIn(state).filter((room) => room.unread).length;
/** How often I am meant: named in rooms, or pinged. */
export const meantCount = (state: State): number =>
  roomsIn(state).reduce((n, it) => n + (it.type === "direct" ? +it.unread : it.mentions), 0);

/** A sentence for the live region; `assertive` only for failures. */
export const announce = (text: string, how: "polite" | "assertive" = "polite"): void =>
  apply({ type: "announced", text, assertive: how === "assertive" });
export const flash = (kind: Flash["kind"], text: string): void =>
  apply({ type: "flashed", kind, text });
/** Says what went wrong; what was said before is over. */
export const failed = (problem: unknown): void => flash("alert", sentenceOf(problem));
/** What was said is over: "Saved." does not stand beside an error. */
export const unflash = (): void => apply({ type: "flash_over", key: getState().flashes });

/** What comes later; undefined, and the person is told so, when it cannot be fetched. */
export const fetched = <T>(later: Promise<T>): Promise<T | undefined> =>
  later.catch(() => void flash("alert", NO_NETWORK));

// --- How each event changes the state ---------------------------------------------------------

function boot(state: State, boot: Boot, path: string): State {
  const room = "room" in boot.data && boot.page === "room" ? (boot.data.room as Room) : null;
  const next: State = {
    ...state,
    route: { path, page: boot.page, params: boot.params },
    account: boot.account,
    me: boot.current_user,
    features: boot.features,
    version: boot.version,
    vapid_public_key: boot.vapid_public_key,
    cable_url: boot.cable_url,
    streams: boot.streams,
    help_contact: boot.help_contact ?? null,
    sounds: boot.sounds ?? state.sounds,
    last_room_id: room?.id ?? boot.last_room_id,
    sidebar: boot.current_user ? state.sidebar : null,
    room: null,
    room_gone: false,
    viewed: null,
    loading: false,
  };
  const roomed = room ? withRoom(next, room) : next;
  return bootFlash(withBootData(roomed, boot.data as BootExtras), boot);
}

type Bells = { room: Room; involvement: Involvement }[];
type BootExtras = { sidebar?: Sidebar } & {
  [list in "shared_memberships" | "direct_memberships"]?: Bells;
};

function withBootData(state: State, data: BootExtras): State {
  const rooms = [...(data.shared_memberships ?? []), ...(data.direct_memberships ?? [])];
  const known = rooms.map(({ room, involvement }) => [room.id, involvement] as const);
  return {
    ...state,
    sidebar: data.sidebar ? sidebarFrom(data.sidebar, roomOnScreen(state)) : state.sidebar,
    involvements: { ...state.involvements, ...Object.fromEntries(known) },
  };
}

function bootFlash(state: State, { flash: words }: Boot): State {
  // The one thing a page is begun with as an alert; the server's own words are not a person's.
  if (words.alert) return flashed(state, "alert", alertIn(words.alert));
  return words.notice ? flashed(state, "notice", words.notice) : state;
}

function flashed(state: State, kind: Flash["kind"], text: string): State {
  const flashes = state.flashes + 1;
  return { ...state, flashes, flash: { kind, text, key: flashes } };
}

function announced(state: State, text: string, assertive: boolean): State {
  const region = assertive ? "assertive" : "polite";
  return { ...state, [region]: { text, key: state[region].key + 1 } };
}

/** A room counts as looked at only while it is there to be read. */
function roomOnScreen(state: State): number | null {
  return state.room && !state.room_gone ? state.room.id : null;
}

function withRoom(state: State, room: Room): State {
  return {
    ...withInvolvement(state, room.id, room.involvement),
    room,
    room_gone: false,
    sidebar: state.sidebar && read(state.sidebar, room.id),
  };
}

function withInvolvement(state: State, room_id: number, involvement: Involvement): State {
  if (state.involvements[room_id] === involvement) return state;
  return { ...state, involvements: { ...state.involvements, [room_id]: involvement } };
}

export function sidebarRoom(room: Room): SidebarRoom {
  const { id, type, display_name, topic, path, unread, mentions, starred } = room;
  const { updated_at_ms, members } = room;
  return { id, type, display_name, topic, path, unread, mentions, starred, updated_at_ms, members };
}

function sidebarFrom(sidebar: Sidebar, onScreen: number | null): SidebarState {
  const asRead = (room: Room) => ({ ...sidebarRoom(room), ...(room.id === onScreen && READ) });
  return {
    directs: sidebar.directs.map(asRead).sort(byActivity),
    shared: sidebar.shared.map(asRead).sort(byDisplayName),
    placeholders: sidebar.placeholders,
    can_create_rooms: sidebar.can_create_rooms,
  };
}

const byStar = (a: SidebarRoom, b: SidebarRoom) => Number(b.starred) - Number(a.starred);
const byActivity = (a: SidebarRoom, b: SidebarRoom) =>
  byStar(a, b) || b.updated_at_ms - a.updated_at_ms;
const byDisplayName = (a: SidebarRoom, b: SidebarRoom) =>
  byStar(a, b) || byName(a, b) || a.id - b.id;

function inSidebar(state: State, change: (sidebar: SidebarState) => SidebarState): State {
  if (!state.sidebar) return state;
  const sidebar = change(state.sidebar);
  return sidebar === state.sidebar ? state : { ...state, sidebar };
}

function listed(sidebar: SidebarState, room: SidebarRoom): SidebarState {
  const others = without(sidebar, room.id);
  const { unread = false, mentions = 0 } = find(sidebar, room.id) ?? {};
  const entry = { ...room, unread: room.unread || unread, mentions: room.mentions || mentions };
  if (room.type !== "direct") {
    return { ...others, shared: [...others.shared, entry].sort(byDisplayName) };
  }
  const people = new Set(room.members?.map(({ id }) => id));
  return {
    ...others,
    directs: [...others.directs, entry].sort(byActivity),
    placeholders: others.placeholders.filter(({ id }) => !people.has(id)),
  };
}

function renamed(state: State, room: SidebarRoom): State {
  const next = inSidebar(state, (sidebar) =>
    // A replacement of what is not listed here is not for us: an invisible room stays invisible.
    find(sidebar, room.id) ? listed(sidebar, room) : sidebar,
  );
  if (next.room?.id !== room.id) return next;
  const { display_name: name, topic, type, starred } = room;
  return { ...next, room: { ...next.room, name, display_name: name, topic, type, starred } };
}

function withPerson(state: State, user: User, joined: boolean): State {
  const own = user.id === state.me?.id;
  const next = inSidebar(state, (sidebar) => ({
    ...sidebar,
    directs: sidebar.directs.map((room) => peopled(room, user)),
    placeholders: placeholders(sidebar, user, own),
  }));
  return {
    ...next,
    room: next.room && peopled(next.room, user),
    me: own ? { ...state.me, ...user } : state.me,
    joined: joined && !own ? [...state.joined, user.name].slice(-3) : state.joined,
  };
}

/** A ping is called what its people are called. */
function peopled<Ping extends Pick<SidebarRoom, "members" | "display_name">>(
  room: Ping,
  user: User,
): Ping {
  if (!room.members?.some(({ id }) => id === user.id)) return room;
  const members = room.members.map((member) => (member.id === user.id ? user : member));
  return { ...room, members, display_name: sentence(members.map(({ name }) => name)) };
}

/** People to ping who are in no ping yet: the newest come last. */
function placeholders({ directs, placeholders: people }: SidebarState, user: User, own: boolean) {
  const others = people.filter(({ id }) => id !== user.id);
  const pinged = new Set(directs.flatMap(({ members }) => members ?? []).map(({ id }) => id));
  if (own || user.status !== "active" || pinged.has(user.id)) return others;
  if (others.length < people.length)
    return people.map((person) => (person.id === user.id ? user : person));
  return people.length + pinged.size < PEOPLE ? [...people, user] : people;
}

/** Only a deletion takes the room on screen away; one removed from my own list may be hidden. */
function removed(state: State, room_id: number, deleted: boolean): State {
  const next = inSidebar(state, (sidebar) =>
    find(sidebar, room_id) ? without(sidebar, room_id) : sidebar,
  );
  return deleted && next.room?.id === room_id ? { ...next, room_gone: "deleted" } : next;
}

/** What I wrote or see elsewhere moves my pings, and is not unread. */
function unread(sidebar: SidebarState, news: News, onScreen: number | null): SidebarState {
  const { room_id, at_ms, mention, seen, away } = news;
  const unseen = !seen && (away || room_id !== onScreen);
  const known = find(sidebar, room_id);
  if (known?.type !== "direct" && !(known && unseen && (mention || !known.unread))) return sidebar;
  return withOne(sidebar, room_id, (room) => ({
    unread: room.unread || unseen,
    mentions: room.mentions + Number(unseen && mention === true),
    updated_at_ms: Math.max(room.updated_at_ms, at_ms),
  }));
}

const READ = { unread: false, mentions: 0 };

function read(sidebar: SidebarState, room_id: number): SidebarState {
  return find(sidebar, room_id)?.unread ? withOne(sidebar, room_id, () => READ) : sidebar;
}

type Change = (room: SidebarRoom) => Partial<SidebarRoom>;

function withOne(sidebar: SidebarState, id: number, change: Change): SidebarState {
  const one = (room: SidebarRoom) => (room.id === id ? { ...room, ...change(room) } : room);
  const { directs, shared } = sidebar;
  return { ...sidebar, directs: directs.map(one).sort(byActivity), shared: shared.map(one) };
}

function find(sidebar: SidebarState, room_id: number): SidebarRoom | undefined {
  return roomsIn({ sidebar }).find(({ id }) => id === room_id);
}

function without(sidebar: SidebarState, room_id: number): SidebarState {
  const other = ({ id }: SidebarRoom) => id !== room_id;
  const { directs, shared } = sidebar;
  return { ...sidebar, directs: directs.filter(other), shared: shared.filter(other) };
}
