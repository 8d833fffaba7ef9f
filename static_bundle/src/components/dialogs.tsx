/**
 * What covers the page until it is left: QR codes, pictures, videos, all keys, where to go; and what
 * narrows a search. It is fetched when the first is opened, and brings its styles along.
 */
import { type KeyboardEvent, type ReactNode, useEffect, useId, useState } from "react";
import { flushSync } from "react-dom";
import keys from "../keys.json";
import type { Attachment, User } from "../lib/api";
import * as api from "../lib/api";
import * as device from "../lib/browser";
import { refreshSidebar } from "../lib/cable";
import { type Goal, goalsFor } from "../lib/room-session";
import { apply, fetched, roomsIn, useStore, type Viewed } from "../lib/store";
import { byName } from "../lib/text";
import { insisted } from "../lib/trouble";
import styles from "../styles/lightbox.css?inline";
import { canShareFile, shareFile } from "./files";
import { Choice } from "./shell";
import { Avatar, Button, COMMAND, Dialog, Icon, LinkButton, moveIn } from "./ui";

const sheet = new CSSStyleSheet();
sheet.replaceSync(styles);
document.adoptedStyleSheets.push(sheet);

const close = () => apply({ type: "viewed", item: null });

export function Opened({ item }: { item: Viewed }) {
  if (item.kind === "help") return <Help />;
  if (item.kind === "switcher") return <Switcher ahead={item.typed} />;
  if (item.kind === "qr") return <QrCode url={item.url} title={item.title} />;
  if (item.kind === "emoji") return <EmojiGrid used={item.used} pick={item.pick} />;
  const file = "files" in item && item.files[item.index];
  return file ? <FileViewer item={item} file={file} /> : null;
}

// --- Keys and marks ------------------------------------------------------------------------------

function Help() {
  return (
    <Dialog className="dialog help" aria-labelledby="keys-title" onClose={close}>
      <h1 id="keys-title">Keys and marks</h1>
      <Button icon="remove" label="Close" className="dialog__close" onClick={close} />
      {keys.map((group) => (
        <section key={group.title} aria-label={group.title}>
          <h2>{group.title}</h2>
          <dl>
            {group.keys.map(([key = "", meaning]) => (
              <div key={key}>
                <dt>
                  <kbd>{key.replace("Ctrl+", COMMAND)}</kbd>
                </dt>
                <dd>{meaning}</dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
    </Dialog>
  );
}

// --- The viewer ----------------------------------------------------------------------------------

interface FrameProps {
  label: string;
  onKeyDown?: (event: KeyboardEvent) => void;
  children: ReactNode;
}

/** Escape, the button and a click on the ground leave it. */
function Frame({ label, onKeyDown, children }: FrameProps) {
  return (
    <Dialog
      className="lightbox"
      aria-label={`${label}, press Escape to close`}
      onClose={close}
      onKeyDown={onKeyDown}
      onClick={({ target }) =>
        (target as Element).matches(".lightbox, .lightbox__ground") && close()
      }
    >
      <Button icon="remove" label="Close" className="lightbox__btn" onClick={close} />
      {children}
    </Dialog>
  );
}

function Actions({
  href,
  name,
  onShare,
}: {
  href: string;
  name: string;
  onShare: false | (() => void);
}) {
  return (
    <>
      {onShare && (
        <Button
          icon="share"
          label="Share"
          className="lightbox__btn lightbox__btn--share"
          onClick={onShare}
        />
      )}
      <LinkButton
        href={href}
        download={name}
        icon="download"
        label="Download"
        className="lightbox__btn lightbox__btn--download hide-in-ios-pwa"
      />
    </>
  );
}

function QrCode({ url, title }: { url: string; title: string }) {
  const share = () => void device.share({ title, url });
  return (
    <Frame label="Image viewer">
      <img
        className="lightbox__image"
        data-kind="qr"
        src={device.qrPath(url)}
        alt={`QR code: ${title}`}
      />
      <Actions
        href={device.qrPath(url)}
        name="campfire-qr.svg"
        onShare={device.canShare({ title, url }) && share}
      />
    </Frame>
  );
}

function FileViewer({ item, file }: { item: Viewed & { kind: "file" }; file: Attachment }) {
  function leaf({ key, target }: KeyboardEvent) {
    // A video's own keys are its own.
    if (target instanceof HTMLVideoElement) return;
    const last = item.files.length - 1;
    const { index } = item;
    const goals: Record<string, number> = {
      ArrowLeft: Math.max(index - 1, 0),
      ArrowRight: Math.min(index + 1, last),
      Home: 0,
      End: last,
    };
    const goal = goals[key];
    if (goal !== undefined && goal !== index)
      apply({ type: "viewed", item: { ...item, index: goal } });
  }

  return (
    <Frame label={`${file.filename}, image viewer`} onKeyDown={leaf}>
      {file.kind === "video" ? (
        // biome-ignore lint/a11y/useMediaCaption: people send videos, and no captions with them.
        <video
          key={file.id}
          className="lightbox__image"
          src={file.url ?? ""}
          poster={file.still_url ?? undefined}
          preload="none"
          controls
          playsInline
          aria-label={file.filename}
        />
      ) : (
        <Picture key={file.id} file={file} />
      )}
      <Actions
        href={file.download_url ?? ""}
        name={file.filename}
        onShare={canShareFile(file) && (() => void shareFile(file))}
      />
    </Frame>
  );
}

/** The still at once, and the original in its place when it is there. */
function Picture({ file }: { file: Attachment }) {
  const { url, still_url, filename, width, height } = file;
  const [original, setOriginal] = useState<"coming" | "here" | "broken">("coming");
  const [zoom, setZoom] = useState(0);

  // The still takes the place that the original will have.
  const sides = width &&
    height && {
      aspectRatio: `${width} / ${height}`,
      inlineSize: zoom
        ? width * zoom
        : `min(${width}px, 100dvw - 2ch, (100dvh - 2rem) * ${width / height})`,
    };

  // The browser loads and decodes it, and must be told when nobody waits any more.
  useEffect(() => {
    let gone = false;
    const image = new Image();
    image.src = url ?? "";
    image.decode().then(
      () => gone || setOriginal("here"),
      () => gone || setOriginal("broken"),
    );
    return () => {
      gone = true;
      image.src = "";
    };
  }, [url]);

  return (
    <>
      <div className="lightbox__ground">
        <img
          className="lightbox__image"
          src={(original === "here" ? url : still_url) ?? ""}
          alt={filename}
          data-zoom={zoom || undefined}
          style={sides || undefined}
          onDoubleClick={() => setZoom((zoom + 1) % 3)}
        />
      </div>
      {original === "broken" && (
        <p className="lightbox__note" role="status">
          The original could not be loaded
        </p>
      )}
    </>
  );
}

// --- Emoji ----------------------------------------------------------------------------------------

/** Emoji and their names, the most common ones first; the first name is for people to read. */
const emojiNames = async (): Promise<Record<string, string[]>> =>
  (await insisted(() => import("../emoji.json"))).default;

const RANKS = 3;

/** By the names that begin so, or have a word that does; once it is ended, by the whole name. */
export async function findEmoji(query: string, ended: boolean) {
  const wanted = query.toLowerCase();
  const begins = (word: string) => word.startsWith(wanted);
  const ranked = Object.entries(await emojiNames()).map(([text, [label = "", ...names]]) => {
    const words = `${names.join("_")} ${label.toLowerCase()}`.split(/[ _]/);
    const whole = names.indexOf(wanted);
    const begun = names.findIndex(begins);
    const rank = whole >= 0 ? 0 : ended ? RANKS : begun >= 0 ? 1 : words.some(begins) ? 2 : RANKS;
    const name = `:${names[Math.max(whole, begun, 0)]}:`;
    return { rank, offer: { name, about: "", text, character: text } };
  });
  const fitting = ranked.filter(({ rank }) => rank < RANKS).sort((a, b) => a.rank - b.rank);
  return fitting.map(({ offer }) => offer);
}

const [CELLS, COLUMNS] = [64, 8];

interface EmojiProps {
  /** By the room, those used last first. */
  used: readonly string[];
  pick: (emoji: string) => void;
}

/** What the room used last, and common ones: one tab stop, with arrow keys. */
function EmojiGrid({ used, pick }: EmojiProps) {
  const [names, setNames] = useState<Record<string, string[]>>({});
  // The names come from the network.
  useEffect(() => {
    void fetched(emojiNames()).then((known) => setNames(known ?? {}));
  }, []);
  const cells = [...new Set([...used, ...Object.keys(names)])].slice(0, CELLS);
  return (
    <Dialog className="emoji-grid shadow" aria-label="Emoji" onClose={close} onClick={leave}>
      <div role="menu" aria-label="Emoji" onKeyDown={(event) => moveIn(event, COLUMNS)}>
        {cells.map((emoji, index) => (
          <button
            key={emoji}
            type="button"
            role="menuitem"
            className="btn btn--plain message__action-btn"
            title={names[emoji]?.[0]}
            aria-label={names[emoji]?.[0] ?? emoji}
            tabIndex={index === 0 ? 0 : -1}
            onClick={() => {
              // The focus comes back from the dialog before it goes where what is picked is.
              flushSync(close);
              pick(emoji);
            }}
          >
            <span className="boost-character">{emoji}</span>
          </button>
        ))}
      </div>
    </Dialog>
  );
}

/** A click beside it. */
const leave = ({ target }: React.MouseEvent) => (target as Element).matches("dialog") && close();

// --- Going somewhere -----------------------------------------------------------------------------

function Switcher({ ahead = "" }: { ahead?: string | undefined }) {
  const sidebar = useStore((state) => state.sidebar);
  const [typed, setTyped] = useState(ahead);
  const [at, setAt] = useState(0);
  const id = useId();
  const goals = goalsFor(typed.trim(), { sidebar });
  const chosen = goals[at];
  // Settings have no sidebar, and may be the first page.
  useEffect(() => {
    if (!sidebar) refreshSidebar();
  }, [sidebar]);

  function go(goal: Goal | undefined) {
    if (!goal) return;
    close();
    goal.go();
  }

  function press(event: KeyboardEvent) {
    // A key of a composition is the input method's; in Safari its last comes late, so coded.
    if (event.nativeEvent.isComposing || event.keyCode === 229) return;
    const step = { ArrowDown: 1, ArrowUp: goals.length - 1 }[event.key];
    if (event.key === "Enter") go(chosen);
    else if (step) setAt((at + step) % goals.length);
    else return;
    event.preventDefault();
  }

  return (
    <Dialog
      className="dialog switcher"
      aria-label="Go to"
      onClose={close}
      onClick={({ target }) => (target as Element).matches("dialog") && close()}
    >
      <label className="input input--actor">
        <Icon name="search" size={22} />
        <input
          className="input"
          role="combobox"
          aria-label="Room, ping or person"
          placeholder="Go to…"
          aria-autocomplete="list"
          aria-expanded={goals.length > 0}
          aria-controls={`${id}-list`}
          aria-activedescendant={chosen && id + chosen.key}
          autoComplete="off"
          spellCheck="false"
          autoFocus
          value={typed}
          onChange={({ target }) => {
            setTyped(target.value);
            setAt(0);
          }}
          onKeyDown={press}
        />
      </label>
      <div role="listbox" id={`${id}-list`} aria-label="Rooms, pings and people">
        {goals.map((goal) => (
          <Option
            key={goal.key}
            goal={goal}
            id={id + goal.key}
            selected={goal === chosen}
            onPick={() => go(goal)}
          />
        ))}
      </div>
      <p role="status" className={goals.length ? "for-screen-reader" : "center"}>
        {goals.length ? `${goals.length} found` : "Nothing found"}
      </p>
    </Dialog>
  );
}

function Option(props: { goal: Goal; id: string; selected: boolean; onPick: () => void }) {
  const { goal, id, selected, onPick } = props;
  return (
    <div
      role="option"
      className="autocomplete__item"
      id={id}
      aria-selected={selected}
      data-unread={goal.unread || undefined}
      tabIndex={-1}
      onPointerDown={(event) => event.preventDefault()}
      onClick={onPick}
      onKeyDown={({ key }) => key === "Enter" && onPick()}
      ref={(row) => {
        if (selected) row?.scrollIntoView({ block: "nearest" });
      }}
    >
      <span className="autocomplete__btn">
        {goal.face ? <Avatar user={goal.face} /> : <Icon name="messages" size="2ch" />}
        <span>
          {goal.name}
          {goal.unread && <span className="for-screen-reader">, unread</span>}
        </span>
      </span>
    </div>
  );
}

// --- What narrows a search --------------------------------------------------------------------------

const midnight = (days: number, now = new Date()) =>
  new Date(now.getFullYear(), now.getMonth(), now.getDate() - days).toISOString();
const month = (months: number, now = new Date()) =>
  new Date(now.getFullYear(), now.getMonth() - months, 1).toISOString();

/** From when, and until when. */
const TIMES: Record<string, () => [string, string]> = {
  Today: () => [midnight(0), ""],
  "Last 7 days": () => [midnight(6), ""],
  "Last 30 days": () => [midnight(29), ""],
  "This month": () => [month(0), ""],
  "Last month": () => [month(1), month(0)],
  Older: () => ["", month(1)],
};
const HAS = { file: "A file", image: "An image", link: "A link" };

interface FiltersProps {
  /** What the address says of them. */
  asked: URLSearchParams;
  /** Of what was found. */
  authors: readonly User[];
  onChange: (asked: URLSearchParams) => void;
}

/** Pills under the field; one that narrows is filled, and its first choice takes it away. */
export function Filters({ asked, authors, onChange }: FiltersProps) {
  const sidebar = useStore((state) => state.sidebar);
  const people = usePeople(asked.get("room_id"), authors);
  const rooms = roomsIn({ sidebar }).map((room) => [String(room.id), room.display_name] as const);
  const times = Object.entries(TIMES).map(([words, of]) => [of().join(), words] as const);
  const from = asked.get("from") ?? "";
  const to = asked.get("to") ?? "";
  const time = from || to ? `${from},${to}` : "";

  function set(changes: Record<string, string>) {
    const next = new URLSearchParams(asked);
    for (const [name, value] of Object.entries(changes)) {
      if (value) next.set(name, value);
      else next.delete(name);
    }
    onChange(next);
  }

  const one = (name: string) => ({
    value: asked.get(name) ?? "",
    onChoose: (value: string) => set({ [name]: value }),
  });
  return (
    <fieldset className="searches__filters" aria-label="Filters">
      <Choice label="Room" all="Any room" choices={rooms} {...one("room_id")} />
      <Choice
        label="Person"
        all="Anybody"
        choices={people.map(({ id, name }) => [String(id), name] as const)}
        {...one("creator_id")}
      />
      <Choice
        label="When"
        all="Any time"
        choices={times}
        value={time}
        onChoose={(value) => {
          const [from = "", to = ""] = value.split(",");
          set({ from, to });
        }}
      />
      <Choice label="Has" all="Anything" choices={Object.entries(HAS)} {...one("has")} />
    </fieldset>
  );
}

/** Who wrote what was found, whom one pings or could, and everybody in the room that is chosen. */
function usePeople(room_id: string | null, authors: readonly User[]): User[] {
  const me = useStore((state) => state.me);
  const sidebar = useStore((state) => state.sidebar);
  const [members, setMembers] = useState<readonly User[]>([]);
  // Who is in a room, only the server knows.
  useEffect(() => {
    const found = room_id ? api.members(Number(room_id)) : Promise.reject();
    found.then(({ selected }) => setMembers(selected)).catch(() => setMembers([]));
  }, [room_id]);
  const pinged = sidebar?.directs.flatMap((room) => room.members ?? []) ?? [];
  const others = [...pinged, ...(sidebar?.placeholders ?? []), ...authors, ...members];
  const people = new Map([...(me ? [me] : []), ...others].map((user) => [user.id, user]));
  return [...people.values()].sort(byName);
}
