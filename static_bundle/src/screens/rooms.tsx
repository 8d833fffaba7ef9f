/** Making rooms, their settings, pings, and the search through all that was said in them. */
import { type ReactNode, useLayoutEffect, useRef, useState } from "react";
import { flushSync } from "react-dom";
import { Filters } from "../components/dialogs";
import {
  Field,
  ListRow,
  Panel,
  People,
  Rows,
  Submit,
  Switch,
  useSubmit,
} from "../components/forms";
import { Message, type MessageHome } from "../components/message";
import { attempt, PanelBar, Shell, Star } from "../components/shell";
import { Sidebar } from "../components/sidebar";
import { Avatar, Button, Icon, LinkButton, Spinner } from "../components/ui";
import type { Boost, Room, RoomMembers, RoomWords, ScreenProps, Search } from "../lib/api";
import * as api from "../lib/api";
import { isTouchOnly, visit } from "../lib/browser";
import { emojiIn, shown, type TimelineMessage, viewing } from "../lib/messages";
import {
  askedIn,
  type Hits,
  isNarrowed,
  type Place,
  remembered,
  useHits,
  visitSearch,
  working,
} from "../lib/room-session";
import { announce, apply, failed, useStore } from "../lib/store";
import { byName } from "../lib/text";

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

  async function create(words: RoomWords) {
    const { room } = await api.createRoom(kind, words);
    visit(room.path);
  }

  return (
    <Shell nav={<PanelBar />} title="New chat room">
      <Panel style={{ viewTransitionName: "new-room" }}>
        <RoomForm name={default_name} topic="" fresh onSave={create}>
          <Everyone kind={kind} onChange={setKind} />
          <People people={users} everybody={kind === "open"} fixed={me?.id} chosen={[]} />
        </RoomForm>
      </Panel>
    </Shell>
  );
}

export function EditRoom({ boot }: ScreenProps<"room_edit">) {
  const { room } = boot.data;
  return (
    <SettingsOf room={room}>
      <Panel style={{ viewTransitionName: `edit-room-${room.id}` }}>
        {room.can_administer ? <Settings {...boot.data} /> : <ReadOnly {...boot.data} />}
      </Panel>
      {room.can_administer && (
        <Panel>
          <DeleteRoom room={room}>{room.name}</DeleteRoom>
        </Panel>
      )}
    </SettingsOf>
  );
}

function SettingsOf({ room, children }: { room: Room; children: ReactNode }) {
  const bar = (
    <PanelBar back={room.path}>
      <Star room={room} />
    </PanelBar>
  );
  return (
    <Shell nav={bar} title={`Edit settings for ${room.display_name}`}>
      {children}
    </Shell>
  );
}

function Settings({ room, selected, unselected }: RoomMembers) {
  const [kind, setKind] = useKind((next) => `/rooms/${next}s/${room.id}/edit`);
  const members = selected.map(({ id }) => id);
  const [everyone] = useState(() => [...selected, ...unselected].sort(byName));

  async function save(words: RoomWords) {
    const { room: saved } = await api.updateRoom(kind, room.id, words);
    visit(saved.path);
  }

  return (
    <RoomForm name={room.name ?? ""} topic={room.topic ?? ""} onSave={save}>
      <Everyone kind={kind} onChange={setKind} />
      {kind === "open" ? (
        <People people={everyone} everybody chosen={members} />
      ) : (
        <People people={selected} others={unselected} everybody={false} chosen={members} />
      )}
    </RoomForm>
  );
}

interface RoomFormProps {
  name: string;
  topic: string;
  fresh?: boolean;
  onSave: (words: RoomWords) => Promise<void>;
  children: ReactNode;
}

function RoomForm({ name, topic, fresh = false, onSave, children }: RoomFormProps) {
  const { busy, fields, submit } = useSubmit((form) => {
    const [name = "", topic = "", ids = ""] = ["name", "topic", "user_ids"].map((field) =>
      String(form.get(field)),
    );
    return onSave({ name, topic, user_ids: idsIn(ids) });
  });
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
      <Field
        label="Topic"
        name="topic"
        placeholder="What it is about"
        defaultValue={topic}
        reasons={fields.topic}
        maxLength={200}
      />
      <div className="shade room-access">{children}</div>
      <Submit busy={busy} />
    </form>
  );
}

const idsIn = (list: string) => list.split(",").filter(Boolean).map(Number);

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
      {room.topic && <p>{room.topic}</p>}
      <div className="shade room-access">
        {room.type === "open" && <Everyone kind="open" />}
        <Rows
          people={selected}
          row={(user) => (
            <ListRow key={user.id} user={user} name={user.name} className="membership-item" />
          )}
        />
      </div>
    </>
  );
}

// --- Pings, and deleting -----------------------------------------------------------------------

export function EditDirect({ boot }: ScreenProps<"direct_edit">) {
  const { room } = boot.data;
  return (
    <SettingsOf room={room}>
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
    </SettingsOf>
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

// --- Searching all of them --------------------------------------------------------------------------

export function SearchScreen({ boot }: ScreenProps<"searches">) {
  const { search } = boot.data;
  const { query, return_to_room_id: back } = search;
  const typed = String(boot.params.q ?? query ?? "");
  const busy = useStore((state) => state.loading);
  const asked = askedIn(useStore((state) => state.route.path));
  const narrowed = isNarrowed(asked);
  const [hits, setHits, place] = useHits(search);
  const { messages, has_before } = hits;

  async function older() {
    const more = await working(api.search(`${location.search}&before=${messages[0]?.id}`));
    const list = document.querySelector(".searches__results");
    const end = list ? list.scrollHeight - list.scrollTop : 0;
    flushSync(() => setHits({ ...more, query, messages: [...more.messages, ...messages] }));
    if (list) list.scrollTop = list.scrollHeight - end;
    announce(`${more.messages.length} older`);
  }

  return (
    <Shell
      title="Search"
      nav={
        <>
          {(query !== null || narrowed) && (
            <span className="btn btn--reversed btn--faux searches__query">
              <span className="overflow-ellipsis">{query === null ? "Found" : `“${query}”`}</span>{" "}
              <span>{has_before ? `the newest ${messages.length}` : messages.length}</span>
            </span>
          )}
          {has_before && (
            <Button icon="arrow-up" label="Older" busy={busy} onClick={() => attempt(older)} />
          )}
          <RecentSearches search={search} />
        </>
      }
      footer={<SearchForm query={typed} asked={asked} hits={hits} back={back} />}
      sidebar={<Sidebar />}
    >
      {messages.length > 0 ? (
        <Results hits={hits} place={place} onChange={setHits} />
      ) : (
        <NothingFound query={query} typed={typed} narrowed={narrowed} />
      )}
      {busy && (
        <div className="messages__loading" role="status" style={{ animation: "none" }}>
          <Spinner label="Searching" />
        </div>
      )}
    </Shell>
  );
}

type Change = (change: (hits: Hits) => Hits) => void;

function Results({ hits, place, onChange }: { hits: Hits; place: Place; onChange: Change }) {
  const me = useStore((state) => state.me);
  const list = useRef<HTMLDivElement>(null);
  const messages = hits.messages.map((hit) => shown(hit));
  const home = searchHome(hits, onChange);
  // The list is scrolled by the browser: to its end, or where it was.
  useLayoutEffect(() => {
    if (list.current) list.current.scrollTop = place.top ?? list.current.scrollHeight;
  }, [place]);
  // Where no words were sought, none are marked, and the message is shown as it is.
  const marked = hits.query === null ? { highlight_html: undefined } : {};
  return (
    <div className="message-area">
      <div
        className="messages searches__results"
        role="feed"
        aria-label="Results"
        ref={list}
        onScroll={({ currentTarget }) => {
          place.top = currentTarget.scrollTop;
        }}
        onKeyDown={({ key, target }) => {
          if (key === "Enter" && (target as Element).matches(".message"))
            (target as Element).querySelector<HTMLElement>(".message__permalink")?.click();
        }}
      >
        {hits.messages.map((hit, index) => (
          <Message
            key={hit.id}
            message={messages[index] ?? shown(hit)}
            home={home}
            active
            found={{ ...hit, ...marked }}
            previous={hits.messages[index - 1]}
            me={me?.id}
          />
        ))}
      </div>
    </div>
  );
}

/** A result can be boosted where it stands; for everything else there is its room. */
function searchHome({ messages: all }: Hits, change: Change): MessageHome {
  const elsewhere = ({ path }: TimelineMessage) => visit(path);
  const boosts = (id: number, next: (boosts: Boost[]) => Boost[]) =>
    change(({ messages, ...rest }) => ({
      ...rest,
      messages: messages.map((m) => (m.id === id ? { ...m, boosts: next(m.boosts) } : m)),
    }));
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
    keepUnread: elsewhere,
    view: (message) => apply({ type: "viewed", item: viewing(all, message) }),
    emoji: (pick) => apply({ type: "viewed", item: { kind: "emoji", used: emojiIn(all), pick } }),
    retry: elsewhere,
    takeBack: elsewhere,
    discard: elsewhere,
  };
}

function NothingFound(props: { query: string | null; typed: string; narrowed: boolean }) {
  const { query, typed, narrowed } = props;
  const why = narrowed ? "Nothing found" : typed && `Nothing to search for in “${typed}”`;
  return (
    <div className="message-area message-area--empty">
      <Icon name="search" />
      <p className={query === null ? undefined : "for-screen-reader"} role="status">
        {query === null ? why : `Nothing found for “${query}”.`}
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

interface FormProps {
  query: string;
  asked: URLSearchParams;
  hits: Hits;
  back: number | null;
}

function SearchForm({ query, asked, hits, back }: FormProps) {
  const form = useRef<HTMLFormElement>(null);
  const { busy, submit } = useSubmit(async (form) =>
    visitSearch(asked, await remembered(String(form.get("q")))),
  );

  return (
    <>
      <form id="composer" className="composer searches__form" onSubmit={submit} ref={form}>
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
          <SearchInput query={query} narrowed={isNarrowed(asked)} />
          <Button
            type="submit"
            icon="arrow-up"
            label="Search"
            busy={busy}
            className="btn--reversed txt-small searches__btn"
          />
        </div>
      </form>
      <Filters
        asked={asked}
        authors={hits.messages.map(({ creator }) => creator)}
        onChange={(next) => {
          const words = form.current && new FormData(form.current).get("q");
          visitSearch(next, String(words ?? ""));
        }}
      />
    </>
  );
}

function SearchInput({ query, narrowed }: { query: string; narrowed: boolean }) {
  const [words, setWords] = useState(query);
  const input = useRef<HTMLInputElement>(null);

  function clear() {
    setWords("");
    if (query || narrowed) visit("/searches");
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
        required={!narrowed}
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
