/** Making rooms, their settings, pings, and the search through all that was said in them. */
import { type ReactNode, useRef, useState } from "react";
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
import { attempt, PanelBar, Shell } from "../components/shell";
import { Avatar, Button, Icon, LinkButton, Spinner } from "../components/ui";
import type { Boost, Room, RoomMembers, RoomWords, ScreenProps, Search } from "../lib/api";
import * as api from "../lib/api";
import { DESKTOP, isTouchOnly, useMedia, visit } from "../lib/browser";
import { emojiIn, shown, type TimelineMessage, viewing } from "../lib/messages";
import { apply, failed, useStore } from "../lib/store";
import { byName, formatting } from "../lib/text";

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

// --- Searching all of them --------------------------------------------------------------------------

export function SearchScreen({ boot }: ScreenProps<"searches">) {
  const { search } = boot.data;
  const typed = String(boot.params.q ?? search.query ?? "");
  const desktop = useMedia(DESKTOP);
  const busy = useStore((state) => state.loading);
  const recents = <RecentSearches search={search} />;
  return (
    <Shell
      title="Search"
      nav={
        <>
          {search.query !== null && (
            <span className="btn btn--reversed btn--faux searches__query">
              <span className="overflow-ellipsis">“{search.query}”</span>{" "}
              <span>
                {search.has_before
                  ? `the newest ${search.messages.length}`
                  : search.messages.length}
              </span>
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
      {busy && (
        <div className="messages__loading" role="status" style={{ animation: "none" }}>
          <Spinner label="Searching" />
        </div>
      )}
    </Shell>
  );
}

const toEnd = (list: HTMLElement | null) => list?.scrollTo({ top: list.scrollHeight });

function Results({ search, typed }: { search: Search; typed: string }) {
  const me = useStore((state) => state.me);
  const [messages, setMessages] = useState(() => search.messages.map((hit) => shown(hit)));
  const [home] = useState(() => searchHome(search.messages, setMessages));
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
function searchHome(all: Search["messages"], change: Change): MessageHome {
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
    view: (message) => apply({ type: "viewed", item: viewing(all, message) }),
    emoji: (pick) => apply({ type: "viewed", item: { kind: "emoji", used: emojiIn(all), pick } }),
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

const WORKING_AFTER = 300;

/** The same promise, with a sign of work on the screen when it takes its time. */
async function working<T>(work: Promise<T>): Promise<T> {
  const sign = setTimeout(() => apply({ type: "loading_changed", loading: true }), WORKING_AFTER);
  try {
    return await work;
  } finally {
    clearTimeout(sign);
    apply({ type: "loading_changed", loading: false });
  }
}

function SearchForm({ query, back }: { query: string; back: number | null }) {
  const { busy, submit } = useSubmit(async (form) => {
    const typed = String(form.get("q"));
    const nowhere = { redirect_to: `/searches?q=${encodeURIComponent(typed)}` };
    // Signs alone are nothing to remember; their page says so, and shows them again.
    const { redirect_to } = await working(api.recordSearch(typed)).catch((error) => {
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
