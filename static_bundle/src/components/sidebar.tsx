/** The column beside the room: pings and whom to ping, rooms, the way to one's own settings. */
import {
  type KeyboardEvent,
  type ReactNode,
  type RefObject,
  type SyntheticEvent,
  type TouchEvent,
  useEffect,
  useRef,
  useState,
} from "react";
import type { Suggestion, User } from "../lib/api";
import * as api from "../lib/api";
import { DESKTOP, useMedia, visit } from "../lib/browser";
import { markRead } from "../lib/room-session";
import { failed, type SidebarRoom, unreadCount, useStore } from "../lib/store";
import { directLabel, firstName } from "../lib/text";
import {
  findPeople,
  LANDMARK,
  type Question,
  type Source,
  SuggestionList,
  Suggestions,
  tellReaders,
} from "./autocomplete";
import { Avatar, Button, Icon, LinkButton } from "./ui";

const SWIPE = 60;
const NEW_PING = "/rooms/directs/new";

/** The column stays from room to room, but nothing that was opened in it: a state for each visit. */
function useHere<T>(first: T): [T, (value: T) => void] {
  const path = useStore((state) => state.route.path);
  const [here, set] = useState({ path, value: first });
  if (here.path !== path) set({ path, value: first });
  return [here.value, (value) => set({ path, value })];
}

export function Sidebar() {
  const desktop = useMedia(DESKTOP);
  const [open, setOpen] = useHere(false);
  const close = () => setOpen(false);
  // Off the screen of a phone it must be out of reach of keys and screen readers too.
  const away = !(desktop || open);
  return (
    <SidebarFrame open={open && !desktop} onClose={close}>
      <Toggle open={open} onToggle={() => setOpen(!open)} />
      <Lists inert={away} />
      <Tools inert={away} />
    </SidebarFrame>
  );
}

interface FrameProps {
  open: boolean;
  onClose: () => void;
  children: ReactNode;
}

function SidebarFrame({ open, onClose, children }: FrameProps) {
  const frame = useRef<HTMLElement>(null);
  // While it covers a phone's screen, the page behind it, which others render, is not to be had.
  useEffect(() => {
    if (!open) return undefined;
    const behind = document.querySelectorAll<HTMLElement>("#nav, #main-content, .skip-navigation");
    for (const part of behind) part.inert = true;
    frame.current?.querySelector<HTMLElement>(".direct, .room")?.focus();
    // An entry of its own, so that Back closes it first.
    history.pushState({ depth: (history.state?.depth ?? 0) + 1, menu: "open" }, "");
    return () => {
      if (history.state?.menu === "open") history.back();
      frame.current?.querySelector<HTMLElement>(".sidebar__toggle")?.focus();
      for (const part of behind) part.inert = false;
    };
  }, [open]);
  // The browser's own Back is told to the window alone.
  useEffect(() => {
    addEventListener("popstate", onClose);
    return () => removeEventListener("popstate", onClose);
  }, [onClose]);
  return (
    <aside
      id="sidebar"
      className={`sidebar${open ? " open" : ""}`}
      aria-label="Rooms and pings"
      ref={frame}
      {...swipeRight(onClose)}
      onClickCapture={(event) => {
        if (!(event.target as Element).closest("a")) return;
        // The page that is chosen takes over the entry.
        if (open) history.replaceState({ ...history.state, menu: "left" }, "");
        onClose();
      }}
      onKeyDown={(event) => {
        const [, room] = /^list_room_(\d+)$/.exec((event.target as Element).id) ?? [];
        if (event.key !== "Escape") return;
        if (event.shiftKey && room) {
          event.stopPropagation();
          markRead(Number(room));
        } else if (open) onClose();
      }}
    >
      {children}
    </aside>
  );
}

function Toggle({ open, onToggle }: { open: boolean; onToggle: () => void }) {
  const unread = useStore(unreadCount);
  const count = unread > 0 ? `, ${unread} unread` : "";
  return (
    <Button
      icon="menu"
      label={open ? "Close menu" : `Open menu${count}`}
      className="sidebar__toggle"
      data-unread={(unread > 0 && !open) || undefined}
      aria-expanded={open}
      onClick={onToggle}
    />
  );
}

let from: { x: number; y: number } | null = null;

/** A finger that moves right, and more so than up or down. The ping strip scrolls sideways itself. */
function swipeRight(act: () => void) {
  return {
    onTouchStart({ touches, target }: TouchEvent) {
      const touch = touches[0];
      const sideways = (target as Element).closest(".directs");
      from = touch && !sideways ? { x: touch.clientX, y: touch.clientY } : null;
    },
    onTouchEnd({ changedTouches }: TouchEvent) {
      const touch = changedTouches[0];
      if (!(from && touch)) return;
      const along = touch.clientX - from.x;
      if (along > SWIPE && along > Math.abs(touch.clientY - from.y)) act();
    },
  };
}

// --- Lists ------------------------------------------------------------------------------------

/** Where it was scrolled to, so that going to another room does not lose the place. */
const place = { rooms: 0, pings: 0 };

function keepPlace(axis: keyof typeof place) {
  const side = axis === "rooms" ? "scrollTop" : "scrollLeft";
  return {
    restore(list: HTMLElement | null) {
      if (list) list[side] = place[axis];
    },
    note({ currentTarget }: SyntheticEvent<HTMLElement>) {
      place[axis] = currentTarget[side];
    },
  };
}

const roomsPlace = keepPlace("rooms");
const pingsPlace = keepPlace("pings");

function Lists({ inert }: { inert: boolean }) {
  const asked = useStore((state) => state.route.path.startsWith(NEW_PING));
  /** Null until somebody begins or cancels a ping. */
  const [pinging, setPinging] = useHere<boolean | null>(null);

  return (
    <nav className="sidebar__container" aria-label="Rooms and pings" inert={inert}>
      {(pinging ?? asked) ? (
        <NewPing onCancel={() => setPinging(false)} />
      ) : (
        <Pings back={pinging === false} onNew={() => setPinging(true)} />
      )}
      <Rooms />
    </nav>
  );
}

/** `back`: the focus comes back to where a new ping was begun. */
function Pings({ back, onNew }: { back: boolean; onNew: () => void }) {
  const sidebar = useStore((state) => state.sidebar);
  return (
    <ul className="directs" aria-label="Pings" ref={pingsPlace.restore} onScroll={pingsPlace.note}>
      <li>
        {/* biome-ignore lint/a11y/noAutofocus: it was here before the form took its place. */}
        <button type="button" className="direct" autoFocus={back} onClick={onNew}>
          <span className="avatar avatar--icon direct__new">
            <Icon name="messages-add" />
          </span>
          <span className="direct__author txt-small">Ping</span>
        </button>
      </li>
      {sidebar?.directs.map((room, at, rooms) => (
        <li key={room.id} data-plain={isFirstPlain(rooms, at)}>
          <Ping room={room} />
        </li>
      ))}
      {sidebar?.placeholders.map((user) => (
        <li key={`user-${user.id}`}>
          <Placeholder user={user} />
        </li>
      ))}
    </ul>
  );
}

/** The first without a star, below a hairline where there are some with one. */
const isFirstPlain = (rooms: readonly SidebarRoom[], at: number) =>
  (!rooms[at]?.starred && rooms[at - 1]?.starred) || undefined;

const spokenName = ({ display_name, unread, mentions }: SidebarRoom) =>
  `${display_name}${unread ? ", unread" : ""}${mentions > 0 ? ", mentions you" : ""}`;

function Ping({ room }: { room: SidebarRoom }) {
  const current = useStore((state) => state.room?.id === room.id);
  const members = room.members ?? [];
  return (
    <a
      id={`list_room_${room.id}`}
      href={room.path}
      className={`direct${room.unread ? " unread" : ""}`}
      aria-current={current ? "page" : undefined}
      aria-label={spokenName(room)}
      title={room.display_name}
    >
      <AvatarGroup users={members} />
      <span className="direct__author txt-small overflow-ellipsis">{directLabel(members)}</span>
    </a>
  );
}

/** Two people on a slant, three or four in a square. */
function AvatarGroup({ users }: { users: readonly User[] }) {
  const shown = users.slice(0, 4);
  if (shown.length === 1) return <Avatar user={shown[0] ?? null} />;
  return (
    <span className="avatar__group" data-people={shown.length}>
      {shown.map((user) => (
        <Avatar key={user.id} user={user} />
      ))}
    </span>
  );
}

/** Someone there is no ping with yet: pressing the picture starts it. */
function Placeholder({ user }: { user: User }) {
  return (
    <button
      type="button"
      className="direct"
      title={user.name}
      aria-label={user.name}
      onClick={() => void startPing([user.id])}
    >
      <Avatar user={user} />
      <span className="direct__author txt-small overflow-ellipsis">{firstName(user.name)}</span>
    </button>
  );
}

function Rooms() {
  const sidebar = useStore((state) => state.sidebar);
  return (
    <>
      <ul className="rooms" aria-label="Rooms" ref={roomsPlace.restore} onScroll={roomsPlace.note}>
        {sidebar?.shared.map((room, at, rooms) => (
          <li key={room.id} data-plain={isFirstPlain(rooms, at)}>
            <SharedRoom room={room} />
          </li>
        ))}
      </ul>
      {sidebar?.can_create_rooms && (
        <LinkButton
          href="/rooms/opens/new"
          icon="add"
          label="New room"
          className="rooms__new-btn"
          style={{ viewTransitionName: "new-room" }}
        />
      )}
    </>
  );
}

function SharedRoom({ room }: { room: SidebarRoom }) {
  const current = useStore((state) => state.room?.id === room.id);
  const state = `${room.unread ? " unread" : ""}${current ? " room--current" : ""}`;
  return (
    <a
      id={`list_room_${room.id}`}
      href={room.path}
      className={`room btn txt-nowrap${state}`}
      aria-current={current ? "page" : undefined}
      aria-label={spokenName(room)}
    >
      {room.mentions > 0 && <strong className="txt-negative">@</strong>}
      <span className="room__contents overflow-ellipsis">{room.display_name}</span>
    </a>
  );
}

function Tools({ inert }: { inert: boolean }) {
  const me = useStore((state) => state.me);
  if (!me) return null;
  return (
    <div className="sidebar__tools" inert={inert}>
      <a
        href="/users/me/profile"
        className="btn avatar sidebar__tool"
        title="My settings"
        style={{ viewTransitionName: `avatar-${me.id}` }}
      >
        <img src={me.avatar_url} width={48} height={48} alt="" />
        <span className="for-screen-reader">My settings</span>
      </a>
      <LinkButton
        href="/account/edit"
        icon="settings"
        label="Account settings"
        className="sidebar__tool"
        style={{ viewTransitionName: "account-settings" }}
      />
    </div>
  );
}

// --- A new ping -------------------------------------------------------------------------------

async function startPing(user_ids: number[]) {
  try {
    const { room } = await api.createDirect(user_ids);
    visit(room.path);
  } catch (error) {
    failed(error);
  }
}

function NewPing({ onCancel }: { onCancel: () => void }) {
  const [chosen, setChosen] = useState<readonly Chosen[]>([]);
  const [busy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);

  async function start() {
    if (busy) return;
    form.current?.querySelector("input")?.focus();
    if (chosen.length === 0) return;
    setBusy(true);
    await startPing(chosen.map(({ value }) => value));
    setBusy(false);
  }

  return (
    <div className="directs">
      <form
        className="direct--new"
        ref={form}
        onSubmit={(event) => {
          event.preventDefault();
          void start();
        }}
      >
        <Button icon="arrow-left" label="Cancel" onClick={onCancel} />
        <div className="direct__field">
          <PeoplePicker chosen={chosen} onChange={setChosen} onCancel={onCancel} />
          <span className="direct__hint txt-small" aria-hidden="true">
            Who do you want to ping?
          </span>
        </div>
        <Button
          type="submit"
          icon="check"
          label="Start ping"
          busy={busy}
          className="btn--reversed"
        />
      </form>
    </div>
  );
}

// --- Whom to ping ------------------------------------------------------------------------------

type Chosen = Pick<Suggestion, "name" | "value" | "avatar_url">;

interface PickerProps {
  chosen: readonly Chosen[];
  onChange: (chosen: readonly Chosen[]) => void;
  onCancel: () => void;
}

/** The field of a new ping: pills of the people chosen, and an input that suggests more. */
function PeoplePicker({ chosen, onChange, onCancel }: PickerProps) {
  const me = useStore((state) => state.me);
  const [suggestions] = useState(() => new Suggestions());
  const input = useRef<HTMLInputElement>(null);
  const source: Source = {
    find: () => (input.current ? questionIn(input.current) : null),
    async ask({ query }) {
      const taken = new Set([me?.id, ...chosen.map(({ value }) => value)]);
      return (await findPeople(query)).filter(({ value }) => !taken.has(value));
    },
    choose(person) {
      onChange([...chosen, person]);
      if (input.current) input.current.value = "";
    },
  };
  return (
    <div className="autocomplete__container input input--actor">
      <PersonPills
        chosen={chosen}
        onRemove={(person) => {
          onChange(others(chosen, person));
          input.current?.focus();
        }}
      />
      <PingInput
        input={input}
        suggestions={suggestions}
        source={source}
        onKeyDown={(event) => {
          // A key of a composition is the input method's; in Safari its last comes late, so coded.
          if (event.nativeEvent.isComposing || event.keyCode === 229) return;
          if (suggestions.takes(event)) event.stopPropagation();
          else if (event.key === "Escape") onCancel();
          else if (event.key === "Backspace" && event.currentTarget.value === "") {
            onChange(chosen.slice(0, -1));
          }
        }}
      />
      <SuggestionList suggestions={suggestions} />
    </div>
  );
}

function PingInput(props: {
  input: RefObject<HTMLInputElement | null>;
  suggestions: Suggestions;
  source: Source;
  onKeyDown: (event: KeyboardEvent<HTMLInputElement>) => void;
}) {
  const { input, suggestions, source, onKeyDown } = props;
  // Joins the list, which lives outside React, to the field and to who is chosen by now.
  useEffect(() => {
    suggestions.source = source;
    return input.current ? tellReaders(input.current, suggestions) : undefined;
  });
  return (
    <input
      ref={input}
      className="autocomplete__input input input--transparent"
      type="text"
      role="combobox"
      aria-label="Who do you want to ping?"
      aria-autocomplete="list"
      aria-expanded="false"
      autoComplete="off"
      autoCorrect="off"
      spellCheck="false"
      // biome-ignore lint/a11y/noAutofocus: the person just asked for this field.
      autoFocus
      onChange={() => suggestions.changed()}
      onBlur={() => suggestions.close()}
      onKeyDown={onKeyDown}
    />
  );
}

function PersonPills(props: { chosen: readonly Chosen[]; onRemove: (person: Chosen) => void }) {
  if (props.chosen.length === 0) return null;
  return (
    <ul className="autocomplete__pills" aria-label="People to ping">
      {props.chosen.map((person) => (
        <li className="autocomplete__pill" key={person.value}>
          <span className="avatar">
            <img src={person.avatar_url} width="48" height="48" alt="" />
          </span>
          <span className="overflow-ellipsis">{person.name}</span>
          <Button
            icon="remove-circle"
            label={`Remove ${person.name}`}
            className="btn--plain"
            onClick={() => props.onRemove(person)}
          />
        </li>
      ))}
    </ul>
  );
}

const others = (chosen: readonly Chosen[], person: Chosen) =>
  chosen.filter(({ value }) => value !== person.value);

function questionIn(field: HTMLInputElement): Question | null {
  const query = field.value.trim();
  const landmark = field.closest(LANDMARK);
  return query ? { query, terminator: "", at: field.getBoundingClientRect(), landmark } : null;
}
