/** Making rooms, their settings, pings; and search across all of them. */
import { type ReactNode, useRef, useState } from "react";
import { Message, type MessageHome } from "../components/message";
import { attempt, PanelBar, Shell } from "../components/shell";
import { Avatar, Button, Icon, LinkButton } from "../components/ui";
import type { Boost, Room, RoomMembers, ScreenProps, Search, User } from "../lib/api";
import * as api from "../lib/api";
import { DESKTOP, isTouchOnly, useMedia, visit } from "../lib/browser";
import { shown, type TimelineMessage } from "../lib/messages";
import { announce, failed, useStore } from "../lib/store";
import { formatting } from "../lib/text";
import { Field, ListRow, Panel, Submit, Switch, useSubmit } from "./auth";

const FILTER_ABOVE = 20;
const FILTER_DELAY = 300;

type Kind = "open" | "closed";

/** Everyone's switch changes the kind in place, and the address with it. */
function useKind(pathOf: (kind: Kind) => string) {
  const path = useStore((state) => state.route.path);
  const [kind, setKind] = useState<Kind>(path.startsWith("/rooms/closeds") ? "closed" : "open");

  function change(next: Kind) {
    setKind(next);
    history.replaceState(history.state, "", pathOf(next));
  }

  return [kind, change] as const;
}

// --- The forms ---------------------------------------------------------------------------------

export function NewRoom({ boot }: ScreenProps<"room_new">) {
  const { users, default_name } = boot.data;
  const me = useStore((state) => state.me);
  const [kind, setKind] = useKind((next) => `/rooms/${next}s/new`);

  async function create(name: string, members: number[]) {
    const { room } = await (kind === "open"
      ? api.createOpen(name)
      : api.createClosed(name, members));
    visit(room.path);
  }

  return (
    <Shell nav={<PanelBar />} title="New chat room">
      <Panel style={{ viewTransitionName: "new-room" }}>
        <RoomForm name={default_name} fresh onSave={create}>
          <Everyone kind={kind} onChange={setKind} />
          <People people={users} kind={kind} fixed={me?.id} chosen={[]} />
        </RoomForm>
      </Panel>
    </Shell>
  );
}

export function EditRoom({ boot }: ScreenProps<"room_edit">) {
  const { room } = boot.data;
  return (
    <Shell nav={<PanelBar back={room.path} />} title={`Edit settings for ${room.display_name}`}>
      <Panel style={{ viewTransitionName: `edit-room-${room.id}` }}>
        {room.can_administer ? <Settings {...boot.data} /> : <ReadOnly {...boot.data} />}
      </Panel>
      {room.can_administer && (
        <Panel>
          <DeleteRoom room={room}>{room.name}</DeleteRoom>
        </Panel>
      )}
    </Shell>
  );
}

function Settings({ room, selected, unselected }: RoomMembers) {
  const [kind, setKind] = useKind((next) => `/rooms/${next}s/${room.id}/edit`);
  const members = selected.map(({ id }) => id);

  async function save(name: string, chosen: number[]) {
    const { room: saved } = await (kind === "open"
      ? api.updateOpen(room.id, name)
      : api.updateClosed(room.id, name, chosen));
    visit(saved.path);
  }

  return (
    <RoomForm name={room.name ?? ""} onSave={save}>
      <Everyone kind={kind} onChange={setKind} />
      {kind === "open" ? (
        <People people={[...selected, ...unselected].sort(byName)} kind={kind} chosen={members} />
      ) : (
        <People people={selected} others={unselected} kind={kind} chosen={members} />
      )}
    </RoomForm>
  );
}

const byName = (a: User, b: User) =>
  a.name.localeCompare(b.name, undefined, { sensitivity: "base" });

interface RoomFormProps {
  name: string;
  fresh?: boolean;
  onSave: (name: string, members: number[]) => Promise<void>;
  children: ReactNode;
}

function RoomForm({ name, fresh = false, onSave, children }: RoomFormProps) {
  const { busy, fields, submit } = useSubmit((form) =>
    onSave(String(form.get("name")), form.getAll("user_ids").map(Number)),
  );
  return (
    <form onSubmit={submit}>
      <Field
        label="Name of the room"
        name="name"
        words="room_name"
        defaultValue={name}
        reasons={fields.name}
        maxLength={255}
        onFocus={(event) => fresh && event.currentTarget.select()}
        required
        autoFocus
      />
      <div className="shade room-access">{children}</div>
      <Submit busy={busy} />
    </form>
  );
}

function Everyone({ kind, onChange }: { kind: Kind; onChange?: (kind: Kind) => void }) {
  return (
    <>
      <div className="flex align-center gap">
        <Icon name="everyone" size={36} />
        <strong>Everyone</strong>
        <hr className="separator" role="presentation" />
        {onChange && (
          <Switch
            label="Give everyone access to this room"
            checked={kind === "open"}
            onChange={(event) => onChange(event.currentTarget.checked ? "open" : "closed")}
          />
        )}
      </div>
      <hr className="shade__rule" />
    </>
  );
}

function ReadOnly({ room, selected }: RoomMembers) {
  return (
    <>
      <strong className="txt-x-large">{room.name}</strong>
      <div className="shade room-access">
        {room.type === "open" && <Everyone kind="open" />}
        <ul>
          {selected.map((user) => (
            <ListRow key={user.id} user={user} name={user.name} className="membership-item" />
          ))}
        </ul>
      </div>
    </>
  );
}

// --- People, and the filter over them ----------------------------------------------------------

interface PeopleProps {
  people: readonly User[];
  others?: readonly User[];
  kind: Kind;
  chosen: readonly number[];
  /** Whose access cannot be taken: the creator of a new room. */
  fixed?: number | undefined;
}

function People({ people, others = [], kind, chosen, fixed }: PeopleProps) {
  const [wanted, setWanted] = useState("");
  const row = (user: User) => (
    <PersonRow
      key={user.id}
      user={user}
      unmatched={!user.name.toLowerCase().includes(wanted)}
      plain={kind === "open" || user.id === fixed}
      on={chosen.includes(user.id)}
    />
  );
  return (
    <>
      {people.length + others.length > FILTER_ABOVE && (
        <Filter people={[...people, ...others]} onFilter={setWanted} />
      )}
      <ul className={wanted ? "filter--active" : ""}>{people.map(row)}</ul>
      {others.length > 0 && (
        <>
          <hr className="shade__rule" />
          <ul className={wanted ? "filter--active" : ""}>{others.map(row)}</ul>
        </>
      )}
    </>
  );
}

interface PersonRowProps {
  user: User;
  unmatched: boolean;
  plain: boolean;
  on: boolean;
}

function PersonRow({ user, unmatched, plain, on }: PersonRowProps) {
  const label = `Give ${user.name} access to this room`;
  return (
    <ListRow
      user={user}
      name={user.name}
      className="membership-item"
      data-unmatched={unmatched || undefined}
    >
      {plain ? (
        <Icon name="check" size={20} />
      ) : (
        <Switch label={label} name="user_ids" value={user.id} defaultChecked={on} />
      )}
    </ListRow>
  );
}

let waiting = 0;

function Filter({
  people,
  onFilter,
}: {
  people: readonly User[];
  onFilter: (text: string) => void;
}) {
  function look(text: string) {
    clearTimeout(waiting);
    waiting = window.setTimeout(() => {
      const wanted = text.trim().toLowerCase();
      onFilter(wanted);
      const left = people.filter(({ name }) => name.toLowerCase().includes(wanted)).length;
      announce(left === 1 ? "1 person" : `${left} people`);
    }, FILTER_DELAY);
  }

  return (
    <input
      type="search"
      className="input room-access__filter"
      placeholder="Filter…"
      aria-label="Filter people by name"
      onChange={(event) => look(event.currentTarget.value)}
      // Enter would save the room.
      onKeyDown={(event) => event.key === "Enter" && event.preventDefault()}
    />
  );
}

// --- Pings, and deleting -----------------------------------------------------------------------

export function EditDirect({ boot }: ScreenProps<"direct_edit">) {
  const { room } = boot.data;
  return (
    <Shell nav={<PanelBar back={room.path} />} title={`Edit settings for ${room.display_name}`}>
      <Panel style={{ viewTransitionName: `edit-room-${room.id}` }}>
        <ul className="direct-tiles">
          {room.members?.map((user) => (
            <li key={user.id} className="direct--edit">
              <Avatar user={user} href={user.url} />
              {user.name}
            </li>
          ))}
        </ul>
        <DeleteRoom room={room}>Ping</DeleteRoom>
      </Panel>
    </Shell>
  );
}

function DeleteRoom({ room, children }: { room: Room; children: ReactNode }) {
  const [busy, setBusy] = useState(false);
  const what = room.type === "direct" ? "ping" : "room";

  async function remove() {
    const question = `Delete this ${what} and everything said in it? There is no way back.`;
    setBusy(true);
    const gone = await attempt(() => api.deleteRoom(room.id), question);
    setBusy(false);
    if (gone) visit("/", { replace: true });
  }

  const label = what === "ping" ? "Delete ping" : `Delete ${room.display_name}`;
  return (
    <Button icon="trash" className="btn--negative" busy={busy} aria-label={label} onClick={remove}>
      {children}
    </Button>
  );
}

// --- Search -----------------------------------------------------------------------------------

export function SearchScreen({ boot }: ScreenProps<"searches">) {
  const { search } = boot.data;
  const typed = String(boot.params.q ?? search.query ?? "");
  const desktop = useMedia(DESKTOP);
  const recents = <RecentSearches search={search} />;
  return (
    <Shell
      title="Search"
      nav={
        <>
          {search.query !== null && (
            <span className="btn btn--reversed btn--faux searches__query">
              <span className="overflow-ellipsis">“{search.query}”</span>{" "}
              <span>{search.messages.length}</span>
            </span>
          )}
          {!desktop && recents}
        </>
      }
      footer={<SearchForm query={typed} back={search.return_to_room_id} />}
      sidebar={
        <aside id="sidebar" className="sidebar" aria-label="Recent searches">
          {desktop && recents}
        </aside>
      }
    >
      <Results search={search} typed={typed} />
    </Shell>
  );
}

const toEnd = (list: HTMLElement | null) => list?.scrollTo({ top: list.scrollHeight });

function Results({ search, typed }: { search: Search; typed: string }) {
  const me = useStore((state) => state.me);
  const [messages, setMessages] = useState(() => search.messages.map((hit) => shown(hit)));
  const [home] = useState(() => searchHome(setMessages));
  if (messages.length === 0) return <NothingFound query={search.query} typed={typed} />;
  return (
    <div className="message-area">
      <div className="messages searches__results" role="feed" aria-label="Results" ref={toEnd}>
        {messages.map((message, index) => (
          <Message
            key={message.id}
            message={message}
            home={home}
            active
            found={search.messages[index]}
            {...formatting(message, undefined, me?.id)}
            firstOfDay={false}
          />
        ))}
      </div>
    </div>
  );
}

type Change = (change: (messages: TimelineMessage[]) => TimelineMessage[]) => void;

/** A result can be boosted where it stands; for everything else there is its room. */
function searchHome(change: Change): MessageHome {
  const elsewhere = ({ path }: TimelineMessage) => visit(path);
  const boosts = (id: number, next: (boosts: Boost[]) => Boost[]) =>
    change((all) => all.map((m) => (m.id === id ? { ...m, boosts: next(m.boosts) } : m)));
  return {
    boost({ id }, content) {
      api.boost(id, content).then(({ boost }) => boosts(id, (all) => [...all, boost]), failed);
    },
    unboost(boost) {
      const without = () => boosts(boost.message_id, (all) => all.filter((b) => b.id !== boost.id));
      api.unboost(boost.message_id, boost.id).then(without, failed);
    },
    edit: elsewhere,
    save: elsewhere,
    remove: elsewhere,
    stopEditing: elsewhere,
    reply: elsewhere,
    retry: elsewhere,
    takeBack: elsewhere,
    discard: elsewhere,
  };
}

function NothingFound({ query, typed }: { query: string | null; typed: string }) {
  const said = query === null ? typed && `Nothing to search for in “${typed}”` : "";
  return (
    <div className="message-area message-area--empty">
      <Icon name="search" />
      <p className={said ? undefined : "for-screen-reader"} role="status">
        {said || (query !== null && `Nothing found for “${query}”.`)}
      </p>
    </div>
  );
}

function RecentSearches({ search }: { search: Search }) {
  if (search.recent_searches.length === 0) return null;

  async function clear() {
    const cleared = await attempt(api.clearSearches, "Clear your recent searches?");
    if (cleared) visit("/searches", { replace: true });
  }

  return (
    <ul className="searches__recents" aria-label="Recent searches">
      {search.recent_searches.map(({ id, query }) => (
        <li key={id}>
          <a href={`/searches?q=${encodeURIComponent(query)}`} className="btn searches__recent">
            <span className="overflow-ellipsis">“{query}”</span>
          </a>
        </li>
      ))}
      <li>
        <Button icon="broom" label="Clear recent searches" onClick={clear} />
      </li>
    </ul>
  );
}

function SearchForm({ query, back }: { query: string; back: number | null }) {
  const { busy, submit } = useSubmit(async (form) => {
    const typed = String(form.get("q"));
    const nowhere = { redirect_to: `/searches?q=${encodeURIComponent(typed)}` };
    // Signs alone are nothing to remember; their page says so, and shows them again.
    const { redirect_to } = await api.recordSearch(typed).catch((error) => {
      if (error.code === "validation_failed") return nowhere;
      throw error;
    });
    visit(redirect_to);
  });

  return (
    <form id="composer" className="composer searches__form" onSubmit={submit}>
      <LinkButton
        href={back ? `/rooms/${back}` : "/"}
        icon="arrow-left"
        label="Go back"
        className="composer__context-btn searches__btn"
        style={{ viewTransitionName: "input-switcher" }}
      />
      <div className="composer__input input input--actor searches__box">
        <span className="composer__input-hint" style={{ viewTransitionName: "input-btn" }}>
          <Icon name="search" size={22} />
        </span>
        <SearchInput query={query} />
        <Button
          type="submit"
          icon="arrow-up"
          label="Search"
          busy={busy}
          className="btn--reversed txt-small searches__btn"
        />
      </div>
    </form>
  );
}

function SearchInput({ query }: { query: string }) {
  const [words, setWords] = useState(query);
  const input = useRef<HTMLInputElement>(null);

  function clear() {
    setWords("");
    if (query) visit("/searches");
    else input.current?.focus();
  }

  return (
    <>
      <input
        ref={input}
        type="search"
        name="q"
        className="input input--transparent searches__input"
        aria-label="Search"
        autoComplete="off"
        // biome-ignore lint/a11y/noAutofocus: people come to this page to type here.
        autoFocus={!isTouchOnly() || !query}
        required
        value={words}
        onChange={({ target }) => setWords(target.value)}
        onKeyDown={({ key }) => key === "Escape" && clear()}
      />
      {words && (
        <Button
          icon="remove"
          label="Clear"
          className="btn--borderless txt-small searches__reset"
          onClick={clear}
        />
      )}
    </>
  );
}
