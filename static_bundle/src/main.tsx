/**
 * The client's beginning: styles in their order, the pages, the router and the first render.
 *
 * Three folders, and imports point one way. `lib` has no markup: api.ts is the server, store.ts what
 * more than one component shows, room-session.ts the room on the screen, timeline.ts its messages,
 * outbox.ts what I wrote and nobody has yet, browser.ts what the browser offers. `components` are
 * what is on the screen and know no address. `screens` put both together, a file for each subject.
 *
 * Where something new goes:
 * - a page: its data in api.ts (`PageData`), its component in `screens`, its row in `PAGES` below
 * - a request: a function at the end of api.ts
 * - an event of the cable: `streamEvent` in cable.ts; what it does to a room's messages, `happened`
 *   in messages.ts; what it does to everything else, `AppEvent` and `reduce` in store.ts
 * - what becomes of a file: outbox.ts on its way, files.tsx in the room, dialogs.tsx on its own
 * - a setting of a person or the account: a `Field` or `Switch` in people.tsx or account.tsx
 * - a key that works everywhere: `heedKeys` below; any key, or mark: a line of keys.json as well
 * - an icon: a line of pictures/icons.json; a colour: colors.css; a size or a layer: base.css
 */
import "./styles/_reset.css";
import "./styles/actiontext.css";
import "./styles/animation.css";
import "./styles/autocomplete.css";
import "./styles/avatars.css";
import "./styles/base.css";
import "./styles/boosts.css";
import "./styles/buttons.css";
import "./styles/code.css";
import "./styles/colorize.css";
import "./styles/colors.css";
import "./styles/composer.css";
import "./styles/embeds.css";
import "./styles/filters.css";
import "./styles/flash.css";
import "./styles/inputs.css";
import "./styles/layout.css";
import "./styles/messages.css";
import "./styles/nav.css";
import "./styles/panels.css";
import "./styles/separators.css";
import "./styles/sidebar.css";
import "./styles/signup.css";
import "./styles/spinner.css";
import "./styles/utilities.css";
import { type ComponentType, startTransition, useInsertionEffect } from "react";
import { flushSync } from "react-dom";
import { createRoot } from "react-dom/client";
import { Regions, registerLater } from "./components/shell";
import type { Boot, PageName, ScreenProps } from "./lib/api";
import * as api from "./lib/api";
import * as device from "./lib/browser";
import { connect, disconnect } from "./lib/cable";
import { inWords } from "./lib/room-session";
import {
  announce,
  apply,
  failed,
  getState,
  meantCount,
  roomsIn,
  type State,
  subscribe,
  unreadCount,
  useStore,
} from "./lib/store";

import { sanitizing } from "./lib/text";
import { insisted } from "./lib/trouble";
import { RoomScreen, WelcomeScreen } from "./screens/room";

// --- Pages ------------------------------------------------------------------------------------

type Screen<Name extends PageName> = ComponentType<ScreenProps<Name>>;

interface Page<Name extends PageName> {
  /** The component, or how to fetch it: only rooms are worth their weight in the entry. */
  screen: { now: Screen<Name> } | { later: () => Promise<Screen<Name>> };
  title: (state: State, data: api.PageData[Name]) => string;
  /** Classes of the body, which the styles and administrators' own styles go by. */
  body?: string;
}

const named = (title: string) => () => title;
const roomName = ({ room }: State) => room?.display_name ?? "";
const settingsOf = (_: State, { room }: { room: api.Room }) =>
  `Edit settings for ${room.display_name}`;
const personName = (_: State, { user }: { user: api.User }) => user.name;

const empty = {
  screen: { now: WelcomeScreen },
  title: named("No rooms yet"),
  body: "sidebar",
};

const account = () => import("./screens/account");
const auth = () => import("./screens/auth");
const dialogs = () => import("./components/dialogs");
const people = () => import("./screens/people");
const rooms = () => import("./screens/rooms");

/** A screen of a module that is fetched when it is wanted. */
const later = <Module, Name extends keyof Module>(load: () => Promise<Module>, name: Name) => ({
  later: async () => (await load())[name],
});

const PAGES: { [Name in PageName]: Page<Name> } = {
  room: { screen: { now: RoomScreen }, title: roomName, body: "sidebar" },
  searches: {
    screen: later(rooms, "SearchScreen"),
    title: named("Search"),
    body: "sidebar searches",
  },
  welcome: empty,
  sidebar: empty,
  direct_new: empty,
  first_run: { screen: later(auth, "FirstRun"), title: named("Set up Campfire"), body: "signup" },
  join: { screen: later(auth, "Join"), title: named("Sign up"), body: "signup" },
  sign_in: { screen: later(auth, "SignIn"), title: named("Sign in") },
  transfer: { screen: later(auth, "Transfer"), title: named("Sign in") },
  room_new: { screen: later(rooms, "NewRoom"), title: named("New chat room") },
  room_edit: { screen: later(rooms, "EditRoom"), title: settingsOf },
  direct_edit: { screen: later(rooms, "EditDirect"), title: settingsOf },
  user: { screen: later(people, "PersonScreen"), title: personName },
  profile: { screen: later(people, "OwnProfile"), title: personName },
  push_subscriptions: { screen: later(people, "PushDevices"), title: named("Push devices") },
  account_edit: { screen: later(account, "AccountSettings"), title: named("Account settings") },
  bots: { screen: later(account, "Bots"), title: named("Chat bots") },
  bot_new: { screen: later(account, "NewBot"), title: named("New chat bot") },
  bot_edit: { screen: later(account, "EditBot"), title: named("Edit bot") },
  custom_styles: { screen: later(account, "CustomStyles"), title: named("Custom styles") },
  error: { screen: later(auth, "ErrorScreen"), title: named("Not found") },
};

/** The table's row for a page, with the page's name forgotten: boot data and screen go together. */
function pageOf(name: PageName): Page<PageName> {
  return PAGES[name] as unknown as Page<PageName>;
}

async function screenFor(name: PageName): Promise<Screen<PageName>> {
  const { screen } = pageOf(name);
  return "now" in screen ? screen.now : screen.later();
}

interface AppProps {
  screen: Screen<PageName>;
  boot: Boot;
  visits: number;
}

function App({ screen: Screen, boot, visits }: AppProps) {
  const { title, body = "" } = pageOf(boot.page);
  const words = useStore((state) => mark(state) + title(state, boot.data));
  const administers = useStore((state) => state.me?.role === "administrator");
  const logo = useStore((state) => state.account?.has_logo === true);
  // The document around the root is outside React; its classes decide the layout, so they are set
  // before any part of the screen measures itself.
  useInsertionEffect(() => {
    document.title = words;
    const classes = [body, administers && "admin", logo && "account-has-logo"];
    document.body.className = classes.filter(Boolean).join(" ");
  }, [words, body, administers, logo]);
  return (
    <>
      <Screen key={boot.page === "room" ? "room" : visits} boot={boot} />
      <Regions />
    </>
  );
}

/** Before the title: how often I am meant, or that there is something to read. */
function mark(state: State): string {
  const count = meantCount(state);
  return count > 0 ? `(${count}) ` : unreadCount(state) > 0 ? "• " : "";
}

// --- Routes -----------------------------------------------------------------------------------

const LOADING_AFTER = 300;
const PREFETCH_AFTER = 100;
/** How long the first paint waits for the drawings, which are asked for before the client is. */
const ICONS_AT_MOST = 2000;
/** When the screens that are not in the entry are fetched, wanted or not. */
const SCREENS_AFTER = 2000;
const PAGE_PATHS =
  /^\/(?:$|first_run|session|join|rooms|messages|searches|account\/(?!logo)|users\/(?![^/]+\/avatar))/;

const container = document.getElementById("root") ?? document.body;
let root = createRoot(container, { onUncaughtError: crashed });
/** How many pages were shown; a slower answer to an earlier click is dropped. */
let visits = 0;
/** The last page's fading into this one. */
let fading: ViewTransition | undefined;

async function go(path: string, how: { replace?: boolean; back?: boolean } = {}): Promise<void> {
  if (![getState().version, ""].includes(api.serverVersion())) {
    // The server was updated: the next page is the time to take the client that goes with it.
    location.assign(path);
    return;
  }
  fading?.skipTransition();
  visits += 1;
  const visit = visits;
  const waiting = setTimeout(
    () => apply({ type: "loading_changed", loading: true }),
    LOADING_AFTER,
  );
  try {
    const [boot, address] = await bootAt(path);
    const screen = await screenFor(boot.page).catch(() => null);
    if (visit !== visits) return;
    if (!screen) {
      // The chunk of an older build is gone with it: the document brings the new one.
      location.assign(address);
      return;
    }
    if (!how.back || address !== path) remember(address, how.replace === true || how.back === true);
    await show(screen, boot, address);
  } catch (error) {
    if (visit !== visits) return;
    const known = error instanceof api.ApiError || error instanceof api.NetworkError;
    if (!known) throw error;
    failed(error);
  } finally {
    clearTimeout(waiting);
    if (visit === visits) apply({ type: "loading_changed", loading: false });
  }
}

/** The page at `path`, and where its redirects ended. */
async function bootAt(path: string): Promise<[Boot, string]> {
  const answer = await device.bootFor(path, getState().sidebar !== null);
  api.setToken(answer.csrf_token);
  if ("redirect_to" in answer) return bootAt(answer.redirect_to);
  return [await filled(answer), path];
}

/** A new ping is written beside the last room: the page has no data of its own. */
async function filled(boot: Boot): Promise<Boot> {
  if (boot.page !== "direct_new") return boot;
  if (boot.last_room_id !== null) {
    const room = await api.boot(`/rooms/${boot.last_room_id}`);
    if (!("redirect_to" in room)) return room;
  }
  return { ...boot, page: "welcome", data: { sidebar: await api.sidebar() } };
}

function remember(path: string, replace: boolean): void {
  const { depth = 0, menu } = history.state ?? {};
  // Where the open sidebar of a phone has an entry of its own, the page takes its place.
  if (replace || menu) history.replaceState({ depth }, "", path);
  else history.pushState({ depth: depth + 1 }, "", path);
}

async function show(screen: Screen<PageName>, boot: Boot, path: string): Promise<void> {
  const update = () => render(screen, boot, path);
  // From room to room nothing fades: what is said there is wanted now.
  const stays = boot.page === "room" && getState().room;
  if (document.startViewTransition && !(stays || device.reducedMotion() || document.hidden)) {
    fading = document.startViewTransition(update);
    // Skipped, when the next navigation comes too soon: only the animation is lost.
    fading.ready.catch(() => undefined);
    const over = () => {
      fading = undefined;
    };
    fading.finished.then(over, over);
    await fading.updateCallbackDone;
  } else update();
  settle(boot);
}

/** In one go, unless it is the first: no screen may see another page's state. */
function render(
  screen: Screen<PageName>,
  boot: Boot,
  path: string,
  commit: (render: () => void) => void = flushSync,
): void {
  commit(() => {
    apply({ type: "booted", boot, path });
    root.render(<App screen={screen} boot={boot} visits={visits} />);
  });
  const { room } = getState();
  // Cookies are written to another process, which the first paint need not wait for.
  if (room) setTimeout(() => device.setCookie("last_room", String(room.id)));
  if (boot.current_user) connect();
  else disconnect();
}

/** After a navigation: where the focus is, and what is read out. */
function settle(boot: Boot): void {
  const title = pageOf(boot.page).title(getState(), boot.data);
  const news = "first_unread" in boot.data ? boot.data.first_unread?.count : 0;
  announce(news ? `${title}, ${inWords(news)}` : title);
  const composes = boot.page === "room" && !device.isTouchOnly();
  // A form that begins with its first field has the focus where it belongs already.
  const begun = document.activeElement?.matches("input, textarea");
  if (!(composes || begun))
    document.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
}

/** A bug in a screen: the rest of the page goes with it, so that nobody writes into a broken one. */
function crashed(error: unknown): void {
  reportError(error);
  const { csrf_token, ...rest } = firstBoot();
  const data = { message: "Something broke on this page. Reload to carry on." };
  const boot: Boot<"error"> = { ...rest, csrf_token, page: "error", status: 0, data };
  void auth().then(({ ErrorScreen }) => {
    root.unmount();
    root = createRoot(container);
    root.render(<ErrorScreen boot={boot} />);
  });
}

// --- Links ------------------------------------------------------------------------------------

/** The path a link leads to, if it is a page of ours that the router may show. */
function pathOf(event: Event): string | null {
  const link = (event.target as Element | null)?.closest?.("a");
  if (!link?.href || link.origin !== location.origin) return null;
  if (link.hasAttribute("download") || (link.target && link.target !== "_self")) return null;
  if (link.hash && link.pathname === location.pathname) return null;
  return PAGE_PATHS.test(link.pathname) ? link.pathname + link.search : null;
}

/** While a page fades in, a press reaches nothing but the document: what lies there gets it. */
function passOn(event: MouseEvent): void {
  if (!(event.isTrusted && fading) || event.target !== document.documentElement) return;
  fading.skipTransition();
  const there = document.elementFromPoint(event.clientX, event.clientY);
  there?.dispatchEvent(new MouseEvent("click", event));
}

function followLinks(): void {
  document.addEventListener("click", passOn);
  document.addEventListener("click", (event) => {
    const { button, metaKey, ctrlKey, shiftKey, altKey, defaultPrevented } = event;
    if (defaultPrevented || button !== 0 || metaKey || ctrlKey || shiftKey || altKey) return;
    const path = pathOf(event);
    if (path === null) return;
    event.preventDefault();
    device.visit(path);
  });
  addEventListener("popstate", () => {
    const path = location.pathname + location.search;
    // Following a link inside the page is history too.
    if (path === getState().route.path) return;
    void go(path, { back: true });
  });
}

/** Keys that lead somewhere from everywhere: to what is named, to the next room, to what is unread. */
function followKeys(): void {
  document.addEventListener(
    "keydown",
    (event) => {
      const { key, metaKey, ctrlKey, altKey, shiftKey } = event;
      const { me, viewed } = getState();
      const step = { ArrowUp: -1, ArrowDown: 1 }[key];
      const command = ctrlKey || metaKey;
      if (command && !(altKey || shiftKey) && key.toLowerCase() === "k" && me)
        apply({ type: "viewed", item: viewed?.kind === "switcher" ? null : { kind: "switcher" } });
      else if (altKey && !command && step && me) walk(step, shiftKey);
      else if (viewed?.kind === "switcher" && !command && !document.querySelector("dialog[open]")) {
        // Its code is still to come: what is typed is meant for it, and never for the room.
        const typed = (viewed.typed ?? "") + (key.length === 1 ? key : "");
        apply({ type: "viewed", item: key === "Escape" ? null : { kind: "switcher", typed } });
      } else return;
      event.preventDefault();
      event.stopPropagation();
    },
    { capture: true },
  );
}

/** To the next room of the sidebar, round its ends; `news`: of those with something unread. */
function walk(step: number, news: boolean): void {
  const { room } = getState();
  const rooms = roomsIn(getState());
  const at = rooms.findIndex(({ id }) => id === room?.id);
  const start = at < 0 && step < 0 ? 0 : at;
  const order = rooms.map((_, n) => rooms.at((start + step * (n + 1)) % rooms.length));
  const next = order.find((other) => other?.id !== room?.id && (other?.unread || !news));
  if (next) device.visit(next.path);
}

function prefetchRooms(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const soon = (delay: number) => (event: Event) => {
    clearTimeout(timer);
    const path = pathOf(event);
    if (path && /^\/rooms\/\d+$/.test(path) && path !== location.pathname) {
      timer = setTimeout(() => device.prefetch(path), delay);
    }
  };
  document.addEventListener("pointerover", soon(PREFETCH_AFTER), { passive: true });
  document.addEventListener("focusin", soon(PREFETCH_AFTER));
  document.addEventListener("touchstart", soon(0), { passive: true });
}

/** The keys that work everywhere. */
function heedKeys(): void {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || !(event.ctrlKey || event.metaKey) || !getState().me) return;
    event.preventDefault();
    apply({ type: "viewed", item: { kind: "help" } });
  });
}

// --- Beginning --------------------------------------------------------------------------------

function firstBoot(): Boot {
  return JSON.parse(document.getElementById("boot")?.textContent ?? "{}") as Boot;
}

function refused(error: api.ApiError): void {
  // The document's own request remembers where to come back to after signing in.
  if (error.code === "unauthenticated") location.reload();
  else if (error.status === 403) failed(error);
}

function keepBadge(): void {
  const link = document.querySelector<HTMLLinkElement>("link[rel=icon]");
  const plain = link?.href ?? "";
  let shown = -1;
  let dotted = "";
  const draw = () => {
    if (link) link.href = (shown > 0 && dotted) || plain;
  };
  subscribe(() => {
    const count = unreadCount(getState());
    if (count === shown) return;
    device.setBadge(count);
    const first = shown <= 0 && count > 0;
    shown = count;
    draw();
    if (first)
      withDot(plain).then(
        (picture) => {
          dotted = picture;
          draw();
        },
        () => undefined,
      );
  });
}

const ICON_SIDE = 64;

/** The tab's icon with a dot: there is something to read. */
async function withDot(address: string): Promise<string> {
  const picture = Object.assign(new Image(), { src: address });
  await picture.decode();
  const sides = { width: ICON_SIDE, height: ICON_SIDE };
  const canvas = Object.assign(document.createElement("canvas"), sides);
  const pen = canvas.getContext("2d");
  if (!pen) return address;
  pen.drawImage(picture, 0, 0, ICON_SIDE, ICON_SIDE);
  pen.fillStyle = getComputedStyle(document.body).getPropertyValue("--color-negative");
  pen.arc(ICON_SIDE * 0.75, ICON_SIDE / 4, ICON_SIDE / 4, 0, 2 * Math.PI);
  pen.fill();
  return canvas.toDataURL();
}

/** A page out of the browser's back-forward cache has closed its books, and may be signed out. */
function reviveFully(event: PageTransitionEvent): void {
  if (event.persisted) location.reload();
}

const after = (ms: number) => new Promise((done) => setTimeout(done, ms));

async function start(): Promise<void> {
  const path = location.pathname + location.search;
  if (new URLSearchParams(location.search).get("plain") === "1") {
    document.getElementById("custom-styles")?.remove();
  }
  const boot = firstBoot();
  api.setToken(boot.csrf_token);
  api.onRefusal(refused);
  device.registerRouter((to, how) => void go(to, how));
  registerLater({ help: auth, dialogs });
  device.install.listen();
  addEventListener("pageshow", reviveFully);
  keepBadge();
  device.keepFocus();
  followLinks();
  followKeys();
  prefetchRooms();
  heedKeys();
  const drawn = Promise.race([insisted(device.drawIcons), after(ICONS_AT_MOST)]);
  const [whole] = await Promise.all([filled(boot), sanitizing, drawn]);
  // In small steps, and not in the task that evaluates the client: clicks are heard in between.
  await after(0);
  render(await screenFor(whole.page), whole, path, startTransition);
  // A page's own title is read out by the browser.
  if ("first_unread" in whole.data && whole.data.first_unread)
    announce(inWords(whole.data.first_unread.count));
  device.startServiceWorker();
  setTimeout(() => void insisted(rooms), SCREENS_AFTER);
}

void start();
