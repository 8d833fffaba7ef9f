/** The room with its messages and their options, and the empty house before there is one. */
import {
  type ComponentProps,
  type FocusEvent,
  Fragment,
  type KeyboardEvent,
  type RefObject,
  useEffect,
  useRef,
  useState,
} from "react";
import { flushSync } from "react-dom";
import { Composer, StatusLine, WelcomeCard, Writer } from "../components/composer";
import { canShareFile, shareFile } from "../components/files";
import { type ActionsProps, Message, type MessageHome } from "../components/message";
import { DropOverlay, RoomBar, Shell } from "../components/shell";
import { Sidebar } from "../components/sidebar";
import { Button, Icon, LinkButton, moveIn, Popover, Spinner } from "../components/ui";
import type { Boost, Room, RoomPage, ScreenProps } from "../lib/api";
import { copyText, isTouchOnly } from "../lib/browser";
import { emojiIn, firstNew, type TimelineMessage, viewing } from "../lib/messages";
import { markRead, mountList, newAbove, RoomSession } from "../lib/room-session";
import {
  announce,
  apply,
  isAdministrator,
  Observable,
  useObservable,
  useStore,
} from "../lib/store";

const FIRST_PAGE = 40;
/** What the server counts to. */
const MOST_COUNTED = 999;

// --- The room's model -------------------------------------------------------------------------

interface Looking {
  /** Whose controls are in the tab order; null for the newest. */
  active: string | null;
  /** The message being edited, and what its editor starts with (null: the stored text). */
  editing: { id: string; draft: string | null } | null;
}

/** What this room's parts share apart from its messages, and what its messages can ask for. */
class RoomView extends Observable<Looking> implements MessageHome {
  readonly page: RoomPage;
  readonly session: RoomSession;
  readonly writer: Writer;

  constructor(page: RoomPage) {
    super({ active: null, editing: null });
    this.page = page;
    this.session = new RoomSession(page);
    this.writer = new Writer(this.session, page.room.id, () => this.#editLast());
  }

  /** Joins the room's channels and takes the keys that belong to no field. */
  readonly open = (): (() => void) => {
    const leave = this.session.open();
    document.addEventListener("keydown", this.#key);
    if (!isTouchOnly() && document.activeElement?.tagName !== "INPUT") this.writer.focus();
    return () => {
      document.removeEventListener("keydown", this.#key);
      leave();
    };
  };

  /** A ref callback: the list's scrolling belongs to the timeline. */
  readonly attachList = (list: HTMLElement | null): (() => void) | undefined =>
    list ? mountList(list, this.session.timeline, flushSync) : undefined;

  activate(active: string): void {
    if (this.state().active !== active) this.change({ active });
  }

  boost(message: TimelineMessage, content: string): void {
    void this.session.timeline.boost(message, content);
  }

  unboost(boost: Boost): void {
    void this.session.timeline.unboost(boost);
  }

  edit(message: TimelineMessage): void {
    const id = message.client_message_id;
    this.change({ active: id, editing: { id, draft: null } });
  }

  /** The bubble shows the new text at once; what is refused comes back into the editor. */
  save(message: TimelineMessage, html: string): void {
    this.stopEditing(message);
    this.session.timeline.edit(message, html).catch(() => {
      this.change({ editing: { id: message.client_message_id, draft: html } });
    });
  }

  remove(message: TimelineMessage): void {
    this.stopEditing(message);
    void this.session.timeline.remove(message);
  }

  stopEditing({ client_message_id: id }: TimelineMessage): void {
    flushSync(() => this.change({ editing: null }));
    this.refocus(id);
  }

  /** To where one goes on writing; under a finger, which would bring up the keyboard, to a message. */
  refocus(id: string | undefined): void {
    if (isTouchOnly()) document.getElementById(`message_${id}`)?.focus({ preventScroll: true });
    else this.writer.focus();
  }

  async jump(): Promise<void> {
    const { timeline } = this.session;
    await timeline.jumpToNewest();
    this.refocus(timeline.state().messages.at(-1)?.client_message_id);
  }

  async jumpUp(): Promise<void> {
    const { timeline } = this.session;
    await timeline.jumpToNew();
    this.refocus(firstNew(timeline.state())?.client_message_id);
  }

  reply(message: TimelineMessage): void {
    this.writer.reply(message);
  }

  keepUnread(message: TimelineMessage): void {
    void this.session.leaveUnread(message.id);
  }

  view(message: TimelineMessage): void {
    apply({ type: "viewed", item: viewing(this.session.timeline.state().messages, message) });
  }

  emoji(pick: (emoji: string) => void): void {
    const used = emojiIn(this.session.timeline.state().messages);
    apply({ type: "viewed", item: { kind: "emoji", used, pick } });
  }

  retry({ client_message_id: id }: TimelineMessage): void {
    this.session.timeline.retry(id);
    this.refocus(id);
  }

  takeBack({ client_message_id: id }: TimelineMessage): void {
    this.writer.takeBack(this.session.timeline.discard(id) ?? "");
  }

  discard({ client_message_id: id }: TimelineMessage): void {
    this.session.timeline.discard(id);
    this.writer.focus();
  }

  #editLast(): void {
    const last = this.session.timeline.lastOwn();
    if (last) this.edit(last);
  }

  readonly #key = (event: globalThis.KeyboardEvent): void => {
    const { key, target, ctrlKey, metaKey, altKey, shiftKey } = event;
    if (key === "Escape" && shiftKey) {
      this.session.timeline.change({ left_off: null });
      markRead(this.page.room.id);
      void this.jump();
    }
    const onPage = target === document.body;
    if (key === "ArrowUp" && onPage) {
      event.preventDefault();
      this.#editLast();
    }
    // What is typed at a message, or at nothing, is meant for everybody: the composer takes it.
    const types = key.length === 1 && key !== " " && !(ctrlKey || metaKey || altKey);
    if ((onPage || (target as Element).matches(".message")) && types) this.writer.focus();
  };
}

// --- The room ---------------------------------------------------------------------------------

/** Stays from room to room, and what is beside the messages with it: a new view takes its place. */
export function RoomScreen({ boot: { data } }: ScreenProps<"room">) {
  const [view, open] = useState(() => new RoomView(data));
  if (view.page !== data) open(new RoomView(data));
  const key = `${data.room.id} ${data.loaded_at_ms}`;
  const room = useStore((state) => state.room) as Room;
  // The cable, and the document's keys, are outside React.
  useEffect(() => view.open(), [view]);
  return (
    <Shell
      label="Room"
      nav={<RoomBar key={key} room={room} />}
      footer={
        <Fragment key={key}>
          <StatusLine writer={view.writer} />
          <Composer writer={view.writer} />
        </Fragment>
      }
      sidebar={<Sidebar />}
    >
      <MessageArea key={key} view={view} room={room} />
    </Shell>
  );
}

function MessageArea({ view, room }: { view: RoomView; room: Room }) {
  const { timeline } = view.session;
  const state = useObservable(timeline);
  const { messages, folded, jump, busy } = state;
  const above = newAbove(state);
  const empty = messages.length === 0 ? " message-area--empty" : "";
  return (
    <div className={`message-area${empty}`}>
      {(busy || above > 0) && (
        <div className="messages__loading">
          {busy && <Spinner />}
          {above > 0 && (
            <Button icon="arrow-up" onClick={() => void view.jumpUp()}>
              {above > MOST_COUNTED ? `${MOST_COUNTED}+` : above} new, jump up
            </Button>
          )}
        </div>
      )}
      <MessageList
        view={view}
        room={room}
        messages={messages}
        first={firstNew(state)?.client_message_id}
        folded={folded}
        busy={!!busy || folded > 0}
      />
      {jump && (
        <Button
          icon="arrow-down"
          label="Jump to newest message"
          className="btn--pulsing message-area__return-to-latest"
          onClick={() => void view.jump()}
        />
      )}
      <DropOverlay files={view.writer.files} room={room.display_name} />
    </div>
  );
}

interface ListProps {
  view: RoomView;
  room: Room;
  messages: readonly TimelineMessage[];
  /** The first that is new. */
  first: string | undefined;
  folded: number;
  busy: boolean;
}

function MessageList({ view, room, messages, first, folded, busy }: ListProps) {
  const { active, editing } = useObservable(view);
  const me = useStore((state) => state.me);
  const newest = messages.at(-1)?.client_message_id;
  const known = messages.some(({ client_message_id: id }) => id === active);
  const current = known ? active : newest;
  const welcome = room.invitation && messages.length <= FIRST_PAGE;
  return (
    // biome-ignore lint/a11y: it is a feed as soon as it has an article, as it must.
    <div
      id={`messages_room_${room.id}`}
      className="messages"
      role={welcome || newest ? "feed" : "group"}
      aria-label={`Messages in ${room.display_name}`}
      aria-busy={busy}
      ref={view.attachList}
      onFocus={(event) => follow(event, view)}
      onKeyDown={(event) => steer(event, view)}
    >
      {welcome && <WelcomeCard />}
      {messages.slice(folded).map((message, index) => (
        <Message
          key={message.client_message_id}
          message={message}
          home={view}
          Actions={MessageMenu}
          active={message.client_message_id === current}
          draft={editing?.id === message.client_message_id ? editing.draft : undefined}
          previous={messages[folded + index - 1]}
          me={me?.id}
          fresh={message.client_message_id === first}
        />
      ))}
    </div>
  );
}

const messageOf = (target: EventTarget) => (target as Element).closest<HTMLElement>(".message");

/** The message that has the focus, or holds it, is the active one. */
function follow({ target }: FocusEvent, view: RoomView) {
  const id = messageOf(target)?.dataset.clientMessageId;
  if (id) view.activate(id);
}

/** The keys of a feed. Arrow keys stay with the browser, and scroll. */
function steer(event: KeyboardEvent<HTMLElement>, view: RoomView) {
  const { key, ctrlKey, target } = event;
  const message = messageOf(target);
  if (!message || target !== message) return;
  if (key === "PageUp") void toPrevious(message, view);
  else if (key === "PageDown") (message.nextElementSibling as HTMLElement | null)?.focus();
  else if (key === "Home" && ctrlKey)
    document.querySelector<HTMLElement>("#nav a, #nav button")?.focus();
  else if (key === "End" && ctrlKey) view.writer.focus();
  else if (key === "Enter") message.querySelector<HTMLElement>(".message__options-btn")?.click();
  else return;
  event.preventDefault();
}

async function toPrevious(message: HTMLElement, view: RoomView) {
  const previous = () => {
    const sibling = message.previousElementSibling;
    return sibling?.matches(".message") ? (sibling as HTMLElement) : null;
  };
  if (!previous()) await view.session.timeline.loadBefore();
  previous()?.focus();
}

// --- Before anybody said anything -------------------------------------------------------------

/** Signed in, and in no room at all. */
export function WelcomeScreen() {
  return (
    <Shell title="No rooms yet" sidebar={<Sidebar />}>
      <div className="message-area message-area--empty">
        <Icon name="messages-empty" />
      </div>
    </Shell>
  );
}

// --- What can be done with a message: a menu that hangs on three dots -----------------------------

const QUICK_BOOSTS = [
  ["👍", "Thumbs up"],
  ["👏", "Clapping"],
  ["👋", "Waving hand"],
  ["💪", "Muscle"],
  ["❤️", "Red heart"],
  ["😂", "Face with tears of joy"],
  ["🎉", "Party popper"],
  ["🔥", "Fire"],
] as const;

function MessageMenu({ tab, ...rest }: ActionsProps) {
  const [open, setOpen] = useState<"pointer" | "keyboard" | null>(null);
  const button = useRef<HTMLButtonElement>(null);

  function close(refocus = false) {
    setOpen(null);
    if (refocus) button.current?.focus();
  }

  return (
    <div className="message__actions">
      <Button
        ref={button}
        icon="dots"
        label="Message options"
        className="btn--borderless txt-small message__options-btn"
        aria-haspopup="menu"
        aria-expanded={open !== null}
        aria-disabled={rest.message.outgoing ? true : undefined}
        tabIndex={tab}
        onClick={(event) => {
          if (rest.message.outgoing) return;
          // A click that no pointer made came from Enter or Space.
          setOpen(open ? null : event.detail === 0 ? "keyboard" : "pointer");
        }}
      />
      {open && <Menu {...rest} anchor={button} byKeyboard={open === "keyboard"} onClose={close} />}
    </div>
  );
}

interface MenuProps extends Omit<ActionsProps, "tab"> {
  anchor: RefObject<HTMLButtonElement | null>;
  byKeyboard: boolean;
  onClose: (refocus?: boolean) => void;
}

function Menu({ message, home, own, anchor, byKeyboard, onClose, onBoost }: MenuProps) {
  const administrator = useStore(isAdministrator);
  const file = message.attachment?.url ? message.attachment : null;
  const shares = file !== null && canShareFile(file);
  const hidden = useStore((state) => state.involvements[message.room_id] === "invisible");
  const items =
    3 - Number(hidden) + Number(own || administrator) + Number(file !== null) + Number(shares);
  const andClose = (act: () => void, refocus = false) => ({
    role: "menuitem",
    tabIndex: -1,
    onClick() {
      onClose(refocus);
      act();
    },
  });

  return (
    <Popover
      anchor={anchor}
      onClose={onClose}
      className="message__actions-menu shadow"
      role="menu"
      aria-label="Message options"
      onKeyDown={(event) => (event.key === "Tab" ? onClose(true) : moveIn(event, 3))}
    >
      <div className="message__actions-grid quick-boosts" role="none">
        {QUICK_BOOSTS.map(([content, name], index) => (
          <button
            key={name}
            type="button"
            className="btn message__action-btn"
            title={name}
            // biome-ignore lint/a11y/noAutofocus: a menu opened by a key takes the focus.
            autoFocus={byKeyboard && index === 0}
            {...andClose(() => home.boost(message, content), byKeyboard)}
          >
            <span className="boost-character" aria-hidden="true">
              {content}
            </span>
            <span className="for-screen-reader">{name}</span>
          </button>
        ))}
        <MenuButton icon="boost" label="New boost" {...andClose(onBoost)} />
      </div>
      <div className="message__actions-grid" role="none" data-items={items}>
        <MenuButton icon="reply" label="Reply" {...andClose(() => home.reply(message))} />
        {file && (
          <MenuLink
            icon="download"
            label="Download"
            href={file.download_url ?? ""}
            download={file.filename}
            onClick={() => onClose(byKeyboard)}
          />
        )}
        {shares && <MenuButton icon="share" label="Share" {...andClose(() => shareFile(file))} />}
        <CopyLink path={message.path} onDone={() => onClose(byKeyboard)} />
        {!hidden && (
          <MenuButton
            icon="unread"
            label="Mark unread from here"
            {...andClose(() => home.keepUnread(message))}
          />
        )}
        {(own || administrator) && (
          <MenuButton
            icon="pencil"
            label="Edit"
            {...andClose(() => flushSync(() => home.edit(message)))}
          />
        )}
      </div>
    </Popover>
  );
}

function MenuLink({ label, ...rest }: ComponentProps<typeof LinkButton> & { label: string }) {
  const className = "message__action-btn hide-in-ios-pwa";
  return <LinkButton className={className} label={label} role="menuitem" tabIndex={-1} {...rest} />;
}

function MenuButton({ label, ...rest }: ComponentProps<typeof Button> & { label: string }) {
  return <Button className="message__action-btn" label={label} {...rest} />;
}

const COPIED_FOR = 1000;

/** Of a message's options: they stay until it has been seen that it was copied. */
function CopyLink({ path, onDone }: { path: string; onDone: () => void }) {
  const [copied, setCopied] = useState(false);

  async function copy() {
    if (copied || !(await copyText(location.origin + path))) return;
    setCopied(true);
    announce("Copied");
    setTimeout(onDone, COPIED_FOR);
  }

  return (
    <Button
      icon={copied ? "check" : "link"}
      className="message__action-btn"
      label="Copy link"
      role="menuitem"
      tabIndex={-1}
      data-copied={copied || undefined}
      onClick={copy}
    />
  );
}
