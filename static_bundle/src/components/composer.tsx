/**
 * Where messages are written, and written again: the box with its buttons, the line above it that
 * tells of typing and of a lost connection, editing in place, and the card before the first words.
 */
import { useEffect, useState } from "react";
import * as api from "../lib/api";
import { confirmed, isTouchOnly } from "../lib/browser";
import type { TimelineMessage } from "../lib/messages";
import type { RoomSession } from "../lib/room-session";
import {
  announce,
  failed,
  flash,
  getState,
  isReduced,
  Observable,
  useObservable,
  useStore,
} from "../lib/store";
import { editable, firstName, replyQuote, sentence } from "../lib/text";
import { ROOM_GONE } from "../lib/trouble";
import { type Any, SuggestionList, Suggestions } from "./autocomplete";
import { Editor } from "./editor";
import { FileTiles, PaperClip, type Tiles, tilesOf } from "./files";
import { JoinLink } from "./shell";
import { Button, COMMAND, Icon, LinkButton, Spinner, Translate } from "./ui";

const DRAFT_DELAY = 500;
const TYPING_SAID_EVERY = 10_000;
/** In bytes: the server takes no message that is longer. */
const LONGEST = 65_536;

/** What is to be said of words that are too long to be sent; nothing of others. */
function excess(html: string): string {
  // No letter takes more than three bytes: most texts need not be counted.
  const bytes = html.length * 3 > LONGEST ? new TextEncoder().encode(html).length : 0;
  if (bytes <= LONGEST) return "";
  return `Too long to send: ${Math.ceil(bytes / 1024)} KB, and a message has room for ${LONGEST / 1024}.`;
}

// --- The writer: what the composer does, apart from how it looks -------------------------------

interface Writing {
  /** The formatting toolbar is open: Enter is then a new line. */
  rich: boolean;
  /** Why what is written cannot be sent as it is. */
  excess: string;
}

export class Writer extends Observable<Writing> {
  readonly suggestions = new Suggestions<Any>();
  /** What goes with the words, each a message of its own. */
  readonly files: Tiles;
  #editor: Editor | null = null;
  readonly session: RoomSession;
  readonly #room_id: number;
  readonly #editLast: () => void;
  #draftTimer = 0;

  constructor(session: RoomSession, room_id: number, editLast: () => void) {
    super({ rich: false, excess: "" });
    this.session = session;
    this.#room_id = room_id;
    this.files = tilesOf(room_id);
    this.#editLast = editLast;
  }

  /** A ref callback: the editor lives as long as its host element. */
  readonly attach = (host: HTMLElement | null): (() => void) | undefined => {
    if (!host) return undefined;
    const { suggestions } = this;
    const room_id = this.#room_id;
    const html = this.session.timeline.outbox.draft();
    const editor = new Editor(
      host,
      { label: "Write a message", html, room_id, suggestions, toolbar: "below" },
      {
        onChange: () => this.#typed(),
        onKey: (event) => this.#key(event),
        onFiles: this.files.offer,
      },
    );
    this.#editor = editor;
    window.addEventListener("pagehide", this.#saveDraft);
    return () => {
      window.removeEventListener("pagehide", this.#saveDraft);
      this.#saveDraft();
      this.session.typing.stop();
      editor.destroy();
      this.#editor = null;
    };
  };

  readonly send = (): void => {
    const editor = this.#editor;
    const nothing = this.files.state().tiles.length === 0;
    if (!editor || (editor.isEmpty && nothing)) return;
    if (isReduced(getState())) {
      announce(connectionWords(getState()));
      return;
    }
    const { html } = editor;
    this.#saveDraft();
    if (this.state().excess) {
      editor.shake();
      announce(this.state().excess, "assertive");
      return;
    }
    this.#setRich(false);
    this.session.typing.stop();
    void this.session.timeline.sendFiles(this.files.take());
    if (!editor.isEmpty) void this.session.timeline.send(html);
    editor.load("");
    clearTimeout(this.#draftTimer);
    this.session.timeline.outbox.keepDraft("");
    editor.focus();
  };

  readonly toggleRich = (): void => {
    this.#setRich(!this.state().rich);
    this.focus();
  };

  readonly focus = (): void => this.#editor?.focus();

  /** Quotes a message before whatever is already written. */
  reply(message: TimelineMessage): void {
    this.#editor?.prepend(replyQuote(message), "Format reply");
  }

  /** Takes words that were not sent before whatever is already written. */
  takeBack(html: string): void {
    const editor = this.#editor;
    editor?.load(html + (editor.isEmpty ? "" : editor.html));
    editor?.focusEnd();
    this.#saveDraft();
  }

  #setRich(rich: boolean): void {
    this.#editor?.showToolbar(rich);
    if (this.state().rich !== rich) this.change({ rich });
  }

  #typed(): void {
    const editor = this.#editor;
    if (!editor) return;
    this.session.typing.changed(!editor.isEmpty);
    clearTimeout(this.#draftTimer);
    this.#draftTimer = window.setTimeout(this.#saveDraft, DRAFT_DELAY);
  }

  readonly #saveDraft = (): void => {
    const editor = this.#editor;
    clearTimeout(this.#draftTimer);
    if (!editor) return;
    const html = editor.isEmpty ? "" : editor.html;
    this.session.timeline.outbox.keepDraft(html);
    if (excess(html) !== this.state().excess) this.change({ excess: excess(html) });
  };

  #key(event: KeyboardEvent): void {
    if (this.#takes(event)) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
  }

  #takes({ key, shiftKey, ctrlKey, metaKey, altKey }: KeyboardEvent): boolean {
    if (key === "Enter") {
      const sends =
        ctrlKey || metaKey || !(shiftKey || altKey || this.state().rich || isTouchOnly());
      if (sends) this.send();
      return sends;
    }
    if (key === "Escape" && !shiftKey && this.state().rich) {
      this.#setRich(false);
      return true;
    }
    if (key === "ArrowUp" && !shiftKey && this.#editor?.html === "") {
      this.#editLast();
      return true;
    }
    return false;
  }
}

// --- The composer -----------------------------------------------------------------------------

export function Composer({ writer }: { writer: Writer }) {
  const gone = useStore((state) => state.room_gone);
  return (
    <form
      id="composer"
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        writer.send();
      }}
    >
      <LinkButton
        href="/searches"
        icon="search"
        label="Search"
        className="composer__context-btn"
        style={{ viewTransitionName: "input-switcher" }}
      />
      {gone ? (
        <RoomGone why={gone} />
      ) : (
        <div className="composer__column">
          <FileTiles files={writer.files} onEmpty={writer.focus} />
          <Box writer={writer} />
        </div>
      )}
    </form>
  );
}

function RoomGone({ why }: { why: "deleted" | "refused" }) {
  return (
    <p className="composer__input composer__input--deleted input shake" role="alert">
      {why === "deleted" ? "This room has been deleted." : ROOM_GONE}
    </p>
  );
}

function Box({ writer }: { writer: Writer }) {
  const { rich } = useObservable(writer);
  const offline = useStore(isReduced);
  return (
    <div className={`composer__input input input--actor${rich ? " composer--rich-text" : ""}`}>
      <span className="composer__input-hint" style={{ viewTransitionName: "input-btn" }}>
        <Icon name="messages-outline" size={22} />
      </span>
      <div className="composer__editor" ref={writer.attach} />
      <SuggestionList suggestions={writer.suggestions} />
      <PaperClip files={writer.files} disabled={offline} />
      <Button
        icon="text-options"
        label="Rich text"
        className="btn--borderless txt-small composer__rich-text-btn"
        aria-pressed={rich}
        disabled={offline}
        onClick={writer.toggleRich}
      />
      <Button
        type="submit"
        icon="arrow-up"
        label="Send message"
        keys={rich || isTouchOnly() ? `${COMMAND}Enter` : "Enter"}
        className="btn--reversed txt-small composer__send-btn"
        disabled={offline}
        // Keeps the focus in the editor, and with it the keyboard of a phone.
        onPointerDown={(event) => event.preventDefault()}
      />
    </div>
  );
}

// --- The line above ---------------------------------------------------------------------------

interface Connection {
  connected: boolean;
  network: boolean;
}

function connectionWords({ network }: Connection): string {
  return network
    ? "Reconnecting… your draft is safe here"
    : "You're offline. Your draft is safe here";
}

/** Who is typing; or, before that, that the connection is lost, or that too much is written. */
export function StatusLine({ writer }: { writer: Writer }) {
  const { typing } = writer.session;
  const { excess } = useObservable(writer);
  const names = useObservable(typing);
  const connected = useStore((state) => state.connected);
  const network = useStore((state) => state.network);
  const status = connected ? excess : connectionWords({ connected, network });
  const words = status || names.join(", ");
  const state = status ? " typing-indicator--status" : "";
  return (
    <div className={`typing-indicator${words ? " typing-indicator--active" : ""}${state}`}>
      {words !== excess && <Spinner label="" />}
      <span className="typing-indicator__author" aria-hidden="true">
        {words}
      </span>
      <TypingSaid names={names} />
      <span className="for-screen-reader" role="status">
        {status}
      </span>
    </div>
  );
}

let typingSaidAt = 0;

/** Says who types, at most once in ten seconds. */
function TypingSaid({ names }: { names: readonly string[] }) {
  const who = names[0];
  // The live region is outside this tree, and how often it speaks depends on the clock.
  useEffect(() => {
    if (!who || Date.now() - typingSaidAt < TYPING_SAID_EVERY) return;
    typingSaidAt = Date.now();
    announce(`${who} is typing`);
  }, [who]);
  return null;
}

// --- Editing ----------------------------------------------------------------------------------

/** Where a message that is edited stands. */
export interface EditHome {
  save(message: TimelineMessage, html: string): void;
  remove(message: TimelineMessage): void;
  stopEditing(message: TimelineMessage): void;
}

/** Editing one message in place, apart from how it looks. */
class Editing {
  readonly suggestions = new Suggestions<Any>();
  #editor: Editor | null = null;
  readonly #message: TimelineMessage;
  readonly #home: EditHome;
  readonly #draft: string | null;

  constructor(message: TimelineMessage, home: EditHome, draft: string | null) {
    this.#message = message;
    this.#home = home;
    this.#draft = draft;
  }

  /** A ref callback. It runs inside the tap that asked for it, or iOS shows no keyboard. */
  readonly attach = (host: HTMLElement | null): (() => void) | undefined => {
    if (!host) return undefined;
    const { suggestions } = this;
    const message = this.#message;
    const draft = this.#draft;
    const html = draft ?? editable(message);
    const options = { label: "Edit message", html, room_id: message.room_id, suggestions };
    const editor = new Editor(
      host,
      { ...options, toolbar: "above" },
      {
        onChange: () => undefined,
        onKey: this.#key,
        onFiles: () => announce("A file is a message of its own"),
      },
    );
    this.#editor = editor;
    editor.focusEnd();
    host.scrollIntoView({ block: "center", behavior: "smooth" });
    if (draft === null) void this.#fetch(editor);
    return () => {
      editor.destroy();
      this.#editor = null;
    };
  };

  readonly save = (): void => {
    const editor = this.#editor;
    if (!editor) return;
    if (editor.isEmpty) {
      editor.shake();
      announce("A message can't be empty. Delete it instead?", "assertive");
      return;
    }
    const words = excess(editor.html);
    if (words) {
      editor.shake();
      flash("alert", words);
      return;
    }
    this.#home.save(this.#message, editor.html);
  };

  readonly remove = (): void => {
    if (confirmed("Delete this message for good?")) this.#home.remove(this.#message);
  };

  readonly cancel = (): void => this.#home.stopEditing(this.#message);

  readonly #key = (event: KeyboardEvent): void => {
    const saves = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    if (!(saves || event.key === "Escape")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (saves) this.save();
    else this.cancel();
  };

  /** What was written, without the links the server made of bare addresses. */
  async #fetch(editor: Editor): Promise<void> {
    const { room_id, id } = this.#message;
    const untouched = editor.html;
    try {
      const { edit_html } = await api.editableMessage(room_id, id);
      if (this.#editor !== editor || editor.html !== untouched) return;
      editor.refine(edit_html);
    } catch (error) {
      if (this.#editor !== editor) return;
      failed(error);
      this.cancel();
    }
  }
}

interface EditFormProps {
  message: TimelineMessage;
  home: EditHome;
  draft: string | null;
}

export function EditForm({ message, home, draft }: EditFormProps) {
  const [editing] = useState(() => new Editing(message, home, draft));
  return (
    <form
      className="message__body-content message__body-content--editing"
      onSubmit={(event) => {
        event.preventDefault();
        editing.save();
      }}
    >
      <div className="composer__input input input--actor composer--edit">
        <div className="composer__editor" ref={editing.attach} />
      </div>
      <SuggestionList suggestions={editing.suggestions} />
      <div className="message__edit-btns">
        <Button
          type="submit"
          icon="check"
          label="Save changes"
          keys={`${COMMAND}Enter`}
          className="btn--reversed message__edit-btn"
        />
        {!isTouchOnly() && <p className="txt-small">{COMMAND}Enter saves, Escape leaves</p>}
        <Button
          icon="trash"
          label="Delete message"
          className="btn--negative message__edit-btn"
          onClick={editing.remove}
        />
      </div>
      <Button
        icon="remove"
        label="Stop editing, discard changes"
        keys="Escape"
        className="btn--borderless message__edit-close-btn"
        onClick={editing.cancel}
      />
    </form>
  );
}

// --- Before anything is written ----------------------------------------------------------------

/** Greets whoever is first in a new account. */
export function WelcomeCard() {
  const account = useStore((state) => state.account) as api.Account;
  const joined = useStore((state) => state.joined);
  return (
    <article id="system_welcome" className="welcome" aria-labelledby="welcome_title">
      <span className="account-logo">
        <img src={api.smallLogo(account)} alt="" width={63} height={63} />
      </span>
      <Translate words="invite_message" />
      <h2 id="welcome_title">Welcome to Campfire</h2>
      <p>Share the link below and others can join the conversation.</p>
      <JoinLink url={account.join_url} />
      {joined.length > 0 && (
        <p className="txt-small" role="status">
          {sentence(joined.map(firstName))} joined
        </p>
      )}
    </article>
  );
}
