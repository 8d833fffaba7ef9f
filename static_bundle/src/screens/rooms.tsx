/** Making rooms, their settings, and pings. */
import { type ReactNode, useEffect, useRef, useState } from "react";
import { Field, ListRow, More, Panel, Submit, Switch, useSubmit } from "../components/forms";
import { attempt, PanelBar, Shell } from "../components/shell";
import { Avatar, Button, Icon } from "../components/ui";
import type { Room, RoomMembers, ScreenProps, User } from "../lib/api";
import * as api from "../lib/api";
import { visit } from "../lib/browser";
import { announce, useStore } from "../lib/store";
import { byName, folded } from "../lib/text";

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
  const [everyone] = useState(() => [...selected, ...unselected].sort(byName));

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
        <People people={everyone} kind={kind} chosen={members} />
      ) : (
        <People people={selected} others={unselected} kind={kind} chosen={members} />
      )}
    </RoomForm>
  );
}

interface RoomFormProps {
  name: string;
  fresh?: boolean;
  onSave: (name: string, members: number[]) => Promise<void>;
  children: ReactNode;
}

function RoomForm({ name, fresh = false, onSave, children }: RoomFormProps) {
  const { busy, fields, submit } = useSubmit((form) =>
    onSave(String(form.get("name")), idsIn(String(form.get("user_ids")))),
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
  const [on, setOn] = useState<ReadonlySet<number>>(() => new Set(chosen));
  const matches = ({ name }: User) => folded(name).includes(wanted);
  const [first, second] = [people.filter(matches), others.filter(matches)];

  function give(id: number, access: boolean) {
    const next = new Set(on);
    if (access) next.add(id);
    else next.delete(id);
    setOn(next);
  }

  const row = (user: User) => (
    <PersonRow
      key={user.id}
      user={user}
      plain={kind === "open" || user.id === fixed}
      on={on.has(user.id)}
      onGive={give}
    />
  );
  return (
    <>
      {people.length + others.length > FILTER_ABOVE && (
        <Filter onFilter={setWanted} left={first.length + second.length} />
      )}
      {/* Not every row is there to be asked. */}
      <input type="hidden" name="user_ids" value={[...on].join()} />
      <Rows key={`first ${wanted}`} people={first} row={row} />
      {second.length > 0 && (
        <>
          <hr className="shade__rule" />
          <Rows key={`second ${wanted}`} people={second} row={row} />
        </>
      )}
      {first.length + second.length === 0 && <p className="filter__nobody">Nobody found</p>}
    </>
  );
}

const DRAWN = 50;

/** People by the thousand: the rows are drawn as they come into sight. */
function Rows({ people, row }: { people: readonly User[]; row: (user: User) => ReactNode }) {
  const [drawn, setDrawn] = useState(DRAWN);
  return (
    <>
      <ul>{people.slice(0, drawn).map(row)}</ul>
      {people.length > drawn && <More key={drawn} onSeen={() => setDrawn(drawn + DRAWN)} />}
    </>
  );
}

interface PersonRowProps {
  user: User;
  plain: boolean;
  on: boolean;
  onGive: (id: number, access: boolean) => void;
}

function PersonRow({ user, plain, on, onGive }: PersonRowProps) {
  return (
    <ListRow user={user} name={user.name} className="membership-item">
      {plain ? (
        <Icon name="check" size={20} />
      ) : (
        <Switch
          label={`Give ${user.name} access to this room`}
          checked={on}
          onChange={(event) => onGive(user.id, event.currentTarget.checked)}
        />
      )}
    </ListRow>
  );
}

let waiting = 0;

interface FilterProps {
  onFilter: (wanted: string) => void;
  /** How many are left of them all. */
  left: number;
}

function Filter({ onFilter, left }: FilterProps) {
  const said = useRef(left);
  // The live region is outside this tree, and says what the list has become.
  useEffect(() => {
    if (said.current === left) return;
    said.current = left;
    announce(left === 0 ? "Nobody found" : left === 1 ? "1 person" : `${left} people`);
  }, [left]);

  function look(text: string) {
    clearTimeout(waiting);
    waiting = window.setTimeout(() => onFilter(folded(text.trim())), FILTER_DELAY);
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
