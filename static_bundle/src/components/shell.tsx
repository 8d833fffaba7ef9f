/**
 * What stands around every screen: the page skeleton and its top bars, the bell, what covers a room
 * while files are dragged, and the regions that outlive navigation (flash, viewer, live regions).
 */
import { type ComponentType, type ReactNode, useEffect, useState } from "react";
import * as api from "../lib/api";
import * as device from "../lib/browser";
import {
  announce,
  apply,
  type Flash,
  failed,
  fetched,
  flash,
  getState,
  useStore,
  type Viewed,
} from "../lib/store";
import { limitInWords } from "../lib/text";
import { FILES_OFF, type Tiles } from "./files";
import { Button, CopyButton, Drawing, Icon, type IconName, LinkButton } from "./ui";

// --- The skeleton ------------------------------------------------------------------------------

interface ShellProps {
  /** What the top bar is about: "Room" or "Page". */
  label?: string;
  nav?: ReactNode;
  /** An h1 for those who cannot see it, where the screen shows none. */
  title?: string;
  footer?: ReactNode;
  sidebar?: ReactNode;
  children: ReactNode;
}

export function Shell({ label = "Page", nav, title, footer, sidebar, children }: ShellProps) {
  return (
    <>
      <a className="btn skip-navigation" href="#main-content">
        Skip to main content
      </a>
      {nav && (
        <nav id="nav" className="topbar" aria-label={label}>
          {nav}
        </nav>
      )}
      <main id="main-content" className="main-content" tabIndex={-1}>
        {title && (
          <h1 className="for-screen-reader" tabIndex={-1}>
            {title}
          </h1>
        )}
        {children}
        {footer && (
          <footer id="footer" className="footer">
            {footer}
          </footer>
        )}
      </main>
      {sidebar}
      <nav aria-label="Home">
        <a className="corner-logo" href="/" aria-label="Campfire home" title="Campfire home">
          <Drawing name="mark" />
        </a>
      </nav>
    </>
  );
}

/** The bar of a panel: back at one end, what else can be done here at the other. */
export function PanelBar({ back, previous, children }: BarProps) {
  const lastRoom = useStore((state) => state.last_room_id);
  const href = back ?? (lastRoom ? `/rooms/${lastRoom}` : "/");

  function goBackInstead(event: React.MouseEvent) {
    if (!previous || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    device.goBack(href);
  }

  return (
    <>
      <LinkButton href={href} icon="arrow-left" label="Go back" onClick={goBackInstead} />
      {children && <span className="topbar__end">{children}</span>}
    </>
  );
}

interface BarProps {
  /** Where back leads; the last room when it is not given. */
  back?: string;
  /** Back is the page before, as on profiles. */
  previous?: boolean;
  children?: ReactNode;
}

/** The bar of a room: its name, its settings, its bell. */
export function RoomBar({ room }: { room: api.Room }) {
  const direct = room.type === "direct";
  const account = useStore((state) => state.account);
  return (
    <>
      {account?.has_logo && (
        <span className="account-logo account-logo--small">
          <img src={api.smallLogo(account)} width={42} height={42} alt="" />
        </span>
      )}
      <span className="btn btn--reversed btn--faux room-title">
        <h1 className="overflow-ellipsis" tabIndex={-1}>
          {direct && <span className="for-screen-reader">Ping with </span>}
          {room.display_name}
        </h1>
        {room.topic && (
          <span className="room-topic overflow-ellipsis" title={room.topic} dir="auto">
            {room.topic}
          </span>
        )}
      </span>
      <LinkButton
        href={`/rooms/${room.type}s/${room.id}/edit`}
        icon="dots"
        label={`Settings for this ${direct ? "ping" : "room"}`}
        style={{ viewTransitionName: `edit-room-${room.id}` }}
      />
      <Bell room={room} />
    </>
  );
}

// --- The bell ----------------------------------------------------------------------------------

const bellNames = {
  everything: "Notified of every message",
  invisible: "Notifications are off and the room is hidden from the sidebar",
  mentions: "Notified of @mentions",
  nothing: "Notifications are off",
} as const;

const sharedCycle: readonly api.Involvement[] = ["mentions", "everything", "nothing", "invisible"];
const directCycle: readonly api.Involvement[] = ["everything", "nothing"];

async function moveOn(room: api.Room, now: api.Involvement) {
  const cycle = room.type === "direct" ? directCycle : sharedCycle;
  const next = cycle[(cycle.indexOf(now) + 1) % cycle.length] ?? now;
  apply({ type: "involvement_changed", room_id: room.id, involvement: next });
  announce(bellNames[next]);
  try {
    await api.setInvolvement(room.id, next);
  } catch (problem) {
    apply({ type: "involvement_changed", room_id: room.id, involvement: now });
    failed(problem);
  }
}

/** One room's notifications, as lists show them: always one of the four. */
export function Involvement({ room }: { room: api.Room }) {
  const now = useStore((state) => state.involvements[room.id]) ?? room.involvement;
  const label = `${bellNames[now]}, ${room.display_name}`;
  return (
    <Button
      className="txt-small"
      icon={`bell-${now}`}
      label={label}
      title={bellNames[now]}
      onClick={() => moveOn(room, now)}
    />
  );
}

/** Among the first in the sidebar, for me alone. */
export function Star({ room }: { room: api.Room }) {
  const [starred, setStarred] = useState(room.starred);

  async function toggle() {
    setStarred(!starred);
    if (!(await attempt(() => api.star(room.id, !starred)))) setStarred(starred);
  }

  return (
    <Button
      icon="star"
      className="txt-small"
      label={`Star ${room.display_name}`}
      title={starred ? "Starred: among the first" : "Star: among the first"}
      aria-pressed={starred}
      onClick={toggle}
    />
  );
}

function Bell({ room }: { room: api.Room }) {
  const now = useStore((state) => state.involvements[room.id]) ?? room.involvement;
  const { push, ask, closeHelp } = usePush();
  const { Help } = push;
  const enabled = push.state === "enabled";
  const looking = push.state === "finding" ? "bell-loading" : "bell-alert";
  const label = enabled ? bellNames[now] : "Notification settings for this room";
  return (
    <>
      <Button
        className={push.pulsing && !enabled ? "btn--pulsing btn--first-visit" : ""}
        icon={enabled ? `bell-${now}` : looking}
        label={label}
        onClick={() => (enabled ? moveOn(room, now) : ask())}
      />
      {Help && <Help onClose={closeHelp} />}
    </>
  );
}

type Help = { NotificationsHelp: ComponentType<{ onClose: () => void }> };
type Dialogs = { Opened: ComponentType<{ item: Viewed }> };
let load: { help: () => Promise<Help>; dialogs: () => Promise<Dialogs> };

/** main.tsx knows where they are, so that nothing here needs to. */
export function registerLater(later: typeof load): void {
  load = later;
}

function usePush() {
  const [push, setPush] = useState(() => ({
    state: (device.knownPushEnabled() ? "enabled" : "finding") as device.PushState | "finding",
    pulsing: !device.firstVisitSeen(),
    Help: null as Help["NotificationsHelp"] | null,
  }));

  // What the browser allows is known only to the browser.
  useEffect(() => {
    device.pushState().then((state) => setPush((old) => ({ ...old, state })));
  }, []);

  async function ask() {
    device.markFirstVisitSeen();
    if (!isSecureContext)
      return flash("alert", "Notifications need https. Whoever runs Campfire can set it up.");
    const blocked = push.state === "impossible" || push.state === "denied";
    setPush((old) => ({ ...old, pulsing: false }));
    if (blocked) return showHelp();
    const answer = await device.enablePush(getState().vapid_public_key);
    if (answer === "failed") flash("alert", "Notifications could not be turned on.");
    const state = await device.pushState();
    setPush((old) => ({ ...old, state }));
    if (answer === "denied" && state === "denied") await showHelp();
  }

  async function showHelp() {
    const help = await fetched(load.help());
    if (help) setPush((old) => ({ ...old, Help: help.NotificationsHelp }));
  }

  return { push, ask, closeHelp: () => setPush((old) => ({ ...old, Help: null })) };
}

// --- Dropping files ---------------------------------------------------------------------------

/** Covers the room while files are dragged over it. */
export function DropOverlay({ files, room }: { files: Tiles; room: string }) {
  const [over, setOver] = useState(false);
  const { files: enabled, max_file_bytes: most } = useStore((state) => state.features);
  // Drags come from outside the page and are only to be heard on the window.
  useEffect(() => followDrags(setOver, files), [files]);
  if (!over) return null;
  return (
    <div className="dropzone" aria-hidden="true">
      <Icon name="attachment" size="3rem" />
      <strong className="txt-large">{enabled ? `Drop to send to ${room}` : FILES_OFF}</strong>
      <span>
        {enabled ? `Up to ${limitInWords(most)} each` : "Nothing is uploaded if you let go here."}
      </span>
    </div>
  );
}

function followDrags(show: (over: boolean) => void, files: Tiles): () => void {
  let depth = 0;
  const away = () => {
    depth = 0;
    show(false);
  };
  const hears = {
    dragenter: () => {
      depth += 1;
      show(true);
    },
    dragover: ({ dataTransfer }: DragEvent) => {
      if (dataTransfer) dataTransfer.dropEffect = "copy";
    },
    dragleave: () => {
      depth -= 1;
      if (depth <= 0) away();
    },
    drop: ({ dataTransfer }: DragEvent) => {
      away();
      const items = [...(dataTransfer?.items ?? [])].filter(({ kind }) => kind === "file");
      const folders = items.filter((item) => item.webkitGetAsEntry()?.isDirectory);
      const dropped = items.filter((item) => !folders.includes(item));
      files.offer(
        dropped.flatMap((item) => item.getAsFile() ?? []),
        folders.length > 0,
      );
    },
  };
  const heard = (event: DragEvent) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    hears[event.type as keyof typeof hears](event);
  };
  const escaped = (event: KeyboardEvent) => {
    if (event.key === "Escape") away();
  };
  const gone = new AbortController();
  const kinds = Object.keys(hears) as (keyof typeof hears)[];
  for (const kind of kinds) addEventListener(kind, heard, { capture: true, signal: gone.signal });
  addEventListener("blur", away, gone);
  addEventListener("keydown", escaped, gone);
  return () => gone.abort();
}

// --- Links to share, forms ---------------------------------------------------------------------

type LinkFieldProps = Record<"label" | "value", string> & { icon?: IconName };

/** A link to be passed on: the whole of it is selected as soon as it has the focus. */
export function LinkField({ label, icon, value }: LinkFieldProps) {
  return (
    <label className="input input--actor input--link full-width">
      {icon && <Icon name={icon} size={20} />}
      <input
        className="input"
        readOnly
        aria-label={label}
        value={value}
        onFocus={(event) => event.currentTarget.select()}
      />
    </label>
  );
}

interface CopyLineProps {
  icon: IconName;
  label: string;
  /** Why it would not work. */
  off?: string | false;
  children: string;
}

/** A line to be taken elsewhere: a command, a secret. */
export function CopyLine({ icon, label, off = false, children }: CopyLineProps) {
  return (
    <div className="flex align-center gap">
      <Icon name={icon} size={24} />
      <input
        className="input fill"
        readOnly
        disabled={!!off}
        aria-label={label}
        value={off ? `${off}: ${children}` : children}
        onFocus={(event) => event.currentTarget.select()}
      />
      <CopyButton text={children} label={`Copy: ${label}`} className="txt-small" disabled={!!off} />
    </div>
  );
}

interface ShareProps {
  url: string;
  title: string;
  text: string;
  children?: ReactNode;
}

export function ShareTrio({ url, title, text, children }: ShareProps) {
  const item: Viewed = { kind: "qr", url, title };
  return (
    <div className="actions">
      <Button icon="qr" label="Show QR code" onClick={() => apply({ type: "viewed", item })} />
      <CopyButton text={url} />
      {device.canShare({ title, text, url }) && (
        <Button icon="share" label="Share" onClick={() => device.share({ title, text, url })} />
      )}
      {children}
    </div>
  );
}

/** The way into the account, to be passed on. */
export function JoinLink({ url, children }: { url: string; children?: ReactNode }) {
  return (
    <>
      <LinkField icon="person-add" label="Join link" value={url} />
      <ShareTrio url={url} title="Join us on Campfire" text="Follow this link and start chatting.">
        {children}
      </ShareTrio>
    </>
  );
}

interface ChoiceProps {
  label: string;
  all: string;
  choices: readonly (readonly [string, string])[];
  value: string;
  onChoose: (value: string) => void;
}

/** A pill that chooses one of many; its first choice is none of them. */
export function Choice({ label, all, choices, value, onChoose }: ChoiceProps) {
  const known = !value || choices.some(([choice]) => choice === value);
  return (
    <select
      className="btn txt-small"
      aria-label={label}
      title={label}
      data-chosen={!!value || undefined}
      value={value}
      onChange={({ target }) => onChoose(target.value)}
    >
      <option value="">{value ? all : label}</option>
      {!known && <option value={value}>{label}: as asked</option>}
      {choices.map(([choice, words]) => (
        <option key={choice} value={choice}>
          {words}
        </option>
      ))}
    </select>
  );
}

/** Does it, after asking; a refusal is flashed. True when it was done. */
export async function attempt(act: () => Promise<unknown>, question?: string): Promise<boolean> {
  if (question && !device.confirmed(question)) return false;
  try {
    await act();
    return true;
  } catch (problem) {
    failed(problem);
    return false;
  }
}

// --- The regions that stay ---------------------------------------------------------------------

export function Regions() {
  const flashed = useStore((state) => state.flash);
  const viewed = useStore((state) => state.viewed);
  const loading = useStore((state) => state.loading);
  return (
    <>
      {loading && <div className="loading-bar" role="progressbar" aria-label="Loading" />}
      <div className="flash">{flashed && <FlashBubble key={flashed.key} flash={flashed} />}</div>
      {viewed && <Opened item={viewed} />}
      <LiveRegion how="polite" />
      <LiveRegion how="assertive" />
    </>
  );
}

function LiveRegion({ how }: { how: "polite" | "assertive" }) {
  const { key, text } = useStore((state) => state[how]);
  return (
    <div className="for-screen-reader" aria-live={how}>
      <span key={key}>{text}</span>
    </div>
  );
}

/** In milliseconds, with the time it takes to appear. */
const FLASH_TIMES = { notice: 3300, alert: 6300 };

function FlashBubble({ flash: { kind, text, key } }: { flash: Flash }) {
  // The clock takes it away, also where nothing is animated.
  useEffect(() => {
    const timer = setTimeout(() => apply({ type: "flash_over", key }), FLASH_TIMES[kind]);
    return () => clearTimeout(timer);
  }, [key, kind]);
  return (
    <div className="flash__inner" data-kind={kind} role={kind === "alert" ? "alert" : "status"}>
      <Icon name={kind === "alert" ? "alert" : "check"} />
      <span>{text}</span>
    </div>
  );
}

let dialogs: Dialogs | null = null;

/** Fetched when there is something to look at. */
function Opened({ item }: { item: Viewed }) {
  const [module, setModule] = useState(dialogs);
  // The module comes from the network, where it may not be had.
  useEffect(() => {
    void fetched(load.dialogs()).then((module) => {
      dialogs = module ?? null;
      setModule(dialogs);
      if (!module) apply({ type: "viewed", item: null });
    });
  }, []);
  return module && <module.Opened item={item} />;
}
