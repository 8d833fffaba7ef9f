/**
 * Suggesting people, for a mention while writing and for a new ping; emoji by their names, and sounds
 * to play. `Suggestions` decides when to ask, what to show and which keys it takes; it knows neither
 * Trix nor inputs, only words. And what pages say of themselves whose addresses are pasted.
 */
import { useEffect } from "react";
import { createPortal } from "react-dom";
import type { Sound, Suggestion } from "../lib/api";
import * as api from "../lib/api";
import { player, reducedMotion } from "../lib/browser";
import { announce, getState, Observable, useObservable } from "../lib/store";
import { folded, rankPeople } from "../lib/text";
import { insisted } from "../lib/trouble";
import { hang } from "./ui";

const [DEBOUNCE, CLICK_DELAY, ANSWER_WAIT, SAMPLE_AFTER] = [300, 100, 300, 300];
const [BLINK_FRAMES, MOST] = [8, 20];
export const LANDMARK = "main, aside";

// --- Words ------------------------------------------------------------------------------------

/** What stands at the caret, in the characters of the text it stands in. */
export interface Word {
  start: number;
  end: number;
  query: string;
  /** Punctuation that follows the query: typing it means the name is finished. */
  terminator: string;
  /** What is looked for, when it is not somebody. */
  kind?: "emoji" | "sound";
}

/** What may take the place of what was typed, beside people: it becomes text. */
export interface Offer extends Pick<Suggestion, "name" | "about"> {
  text: string;
  character: string;
  sound?: Sound;
}

/** People, and what else may be offered while one writes. */
export type Any = Suggestion | Offer;

/** Trix writes an attachment as this character; a word ends there as it does at white space. */
const BOUNDARY = /[\s\uFFFC]/u;
const TRAILING = /\p{P}+$/u;
const TERMINATOR = /^[.,;:!?)\]}]$/;

/** `names` are those suggested last: while one goes on like that, a space is a part of the word. */
export function mentionAt(text: string, caret: number, names: readonly string[] = []): Word | null {
  let start = caret;
  while (start > 0 && !BOUNDARY.test(text.charAt(start - 1))) start -= 1;
  const at = text.lastIndexOf("@", caret - 1);
  const typed = folded(text.slice(at + 1, caret));
  const begins = at === 0 || BOUNDARY.test(text.charAt(at - 1));
  if (at >= 0 && begins && names.some((name) => name.startsWith(typed))) start = at;
  let end = caret;
  while (end < text.length && !BOUNDARY.test(text.charAt(end))) end += 1;
  const word = text.slice(start, end);
  if (!word.startsWith("@") || word.lastIndexOf("@") > 0) return null;
  const rest = word.slice(1);
  const terminator = TRAILING.exec(rest)?.[0] ?? "";
  const query = rest.slice(0, rest.length - terminator.length);
  return terminator && !query ? null : { start, end, query, terminator };
}

const EMOJI = /(?:^|[\s\uFFFC(])(:([a-z\d+-][\w+-]+))(:?)$/i;
const PLAY = /^\/play(?: (\w*))?$/i;
const LONGEST = 50;

/** The name of an emoji, as in `:tada`, which a second colon ends; or, alone, a sound to play. */
function commandAt(text: string, caret: number): Word | null {
  const [, typed = "", query = "", terminator = ""] =
    EMOJI.exec(text.slice(Math.max(0, caret - LONGEST), caret)) ?? [];
  const start = caret - typed.length - terminator.length;
  if (query) return { kind: "emoji", start, end: caret, query, terminator };
  const [play, name = ""] = (caret < LONGEST && PLAY.exec(text.trimEnd())) || [];
  // A whole name is a command already: Enter sends it.
  if (play === undefined || caret < play.length || sounds(name)[0]?.name === name) return null;
  return { kind: "sound", start: 0, end: caret, query: name, terminator: "" };
}

export const wordAt = (text: string, caret: number, names: readonly string[]): Word | null =>
  commandAt(text, caret) ?? mentionAt(text, caret, names);

// --- What is offered --------------------------------------------------------------------------

/** As the server ranks them, but for whom it finds inside a word only. */
export async function findPeople(query: string, roomId?: number): Promise<Suggestion[]> {
  const wanted = query.trim();
  return rankPeople(wanted, (await api.suggestions(wanted, roomId)).users);
}

const EVERYONE: Offer = {
  name: "everyone",
  about: "Notifies everybody in this room",
  text: "@everyone",
  character: "📣",
};

/** Whom a room may be told of; last, for those who may, all of them. */
async function findMembers(query: string, room_id: number): Promise<Any[]> {
  const wanted = query.trim();
  const { users, everyone } = await api.suggestions(wanted, room_id);
  const people = rankPeople(wanted, users).slice(0, MOST - 1);
  return everyone && "everyone".startsWith(folded(wanted)) ? [...people, EVERYONE] : people;
}

const sounds = (start: string) =>
  getState().sounds.filter(({ name }) => name.startsWith(start.toLowerCase()));

function findSounds(query: string): Offer[] {
  return sounds(query).map((sound) => {
    const { name, text } = sound;
    return { name, about: text ?? "", text: `/play ${name}`, character: "🔊", sound };
  });
}

/** What may take a word's place. */
export async function offersFor(word: Question, room_id: number): Promise<readonly Any[]> {
  if (word.kind === "sound") return findSounds(word.query);
  if (!word.kind) return findMembers(word.query, room_id);
  const { findEmoji } = await insisted(() => import("./dialogs"));
  return findEmoji(word.query, word.terminator !== "");
}

const SAMPLE = "sample";
let resting = 0;

/** What one rests on is heard; nothing, when one has moved on. */
function sample(item?: Any): void {
  const sound = item && "sound" in item ? item.sound : undefined;
  clearTimeout(resting);
  if (player.state() === SAMPLE) player.stop();
  if (sound) resting = window.setTimeout(() => player.play(sound, SAMPLE), SAMPLE_AFTER);
}

// --- The suggestions --------------------------------------------------------------------------

export interface Question extends Pick<Word, "query" | "terminator" | "kind"> {
  /** Where the list belongs: below the caret, or the input, and inside the landmark around it. */
  at: DOMRect;
  landmark: Element | null;
}

export interface Source<Item = Suggestion> {
  find(): Question | null;
  ask(question: Question): Promise<readonly Item[]>;
  choose(item: Item, ending: string): void;
  /** Enter, after all: it waited for an answer, and nobody was found. */
  enter?(): void;
}

interface Shown<Item> {
  people: readonly Item[];
  kind?: Word["kind"];
  selected: number;
  at: DOMRect | null;
  landmark: Element | null;
  blinking: boolean;
}

type Keys = "key" | "shiftKey" | "ctrlKey" | "metaKey" | "altKey";
type Press = Pick<KeyboardEvent, Keys | "preventDefault">;

const NOBODY = "Nobody found";
const CALLED = { emoji: "Emoji", sound: "Sounds", people: "People" };
const NO_SOURCE = { find: () => null, ask: async () => [], choose: () => undefined };
const CLOSED: Shown<never> = { people: [], selected: 0, at: null, landmark: null, blinking: false };
let lists = 0;

export class Suggestions<Item extends Any = Suggestion> extends Observable<Shown<Item>> {
  readonly listId: string;
  source: Source<Item>;
  #timer = 0;
  #asked = 0;
  #canceled = false;
  /** The answer under way. */
  #looking: Promise<void> | null = null;
  /** Who was clicked, and will be taken in a moment, or as soon as the list closes. */
  #clicked: number | null = null;

  constructor(source: Source<Item> = NO_SOURCE) {
    super(CLOSED);
    lists += 1;
    this.listId = `suggestions-${lists}`;
    this.source = source;
  }

  get isOpen(): boolean {
    return this.state().people.length > 0;
  }

  /** The names on the list, folded. */
  get names(): string[] {
    return this.state().people.map(({ name }) => folded(name));
  }

  get activeId(): string | null {
    return this.isOpen ? `${this.listId}-${this.state().selected}` : null;
  }

  /** The text changed: look at it once it has rested. */
  changed(): void {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.source.find()) this.#timer = window.setTimeout(() => void this.#look(), DEBOUNCE);
    else if (!this.state().blinking) this.#left();
  }

  /** The caret moved without a change. */
  moved(): void {
    if (this.state().at && !this.state().blinking && !this.source.find()) this.#left();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#asked += 1;
    sample();
    if (this.#clicked !== null) this.commit(this.#clicked);
    else if (this.state().at) this.set(CLOSED);
  }

  select(index: number): void {
    const item = this.state().people[index];
    if (!item) return;
    this.change({ selected: index } as Partial<Shown<Item>>);
    sample(item);
  }

  /** True when the key was meant for the list; the caller then lets nobody else have it. */
  takes(event: Press): boolean {
    const taken = this.isOpen
      ? this.#takesOpen(event)
      : this.#closes(event) || this.#revives(event) || this.#waits(event);
    if (taken) event.preventDefault();
    return taken;
  }

  /** `ending` is what follows the name: a space, or the punctuation that finished it. */
  commit(index: number, ending = " "): void {
    const person = this.state().people[index];
    this.#clicked = null;
    if (!person || this.state().blinking) return;
    sample();
    this.source.choose(person, ending);
    clearTimeout(this.#timer);
    this.change({ selected: index, blinking: true } as Partial<Shown<Item>>);
    this.#blink(reducedMotion() ? 0 : BLINK_FRAMES);
  }

  commitLater(index: number): void {
    this.#clicked = index;
    setTimeout(() => this.#clicked === null || this.close(), CLICK_DELAY);
  }

  #takesOpen(event: Press): boolean {
    const { key, shiftKey } = event;
    const { selected, kind } = this.state();
    if (key === "ArrowDown" || key === "ArrowUp") {
      this.select(selected + (key === "ArrowDown" ? 1 : -1));
    } else if (key === "Enter" || (key === "Tab" && !shiftKey)) {
      this.commit(selected);
    } else if (key === " ") {
      if (kind || this.#othersGoOn()) return false;
      this.commit(selected);
    } else if (this.#closes(event)) {
      return true;
    } else if (!kind && TERMINATOR.test(key) && this.source.find()?.query) {
      this.commit(selected, key);
    } else {
      return false;
    }
    return true;
  }

  /** Whether what is typed may yet become another name than the one selected. */
  #othersGoOn(): boolean {
    const typed = ` ${folded(this.source.find()?.query ?? "")}`;
    return this.names.some(
      (name, at) => at !== this.state().selected && ` ${name}`.includes(typed),
    );
  }

  #closes({ key }: Press): boolean {
    if (key !== "Escape" || !this.state().at) return false;
    this.#canceled = true;
    this.close();
    return true;
  }

  /** Enter right after typing takes the first of the answer under way, if it comes soon. */
  #waits({ key, shiftKey, ctrlKey, metaKey, altKey }: Press): boolean {
    const { query, kind, terminator } = this.source.find() ?? {};
    // Of emoji only those that are ended are meant: what begins with a colon may be anything.
    if (kind && !terminator) return false;
    const plain = key === "Enter" && !(shiftKey || ctrlKey || metaKey || altKey);
    if (!plain || !query || !(this.#timer || this.#looking) || this.#canceled) return false;
    clearTimeout(this.#timer);
    if (this.#timer) void this.#look();
    const enough = new Promise<void>((resolve) => setTimeout(resolve, ANSWER_WAIT));
    void Promise.race([this.#looking, enough]).then(() => {
      const still = this.source.find()?.query === query;
      if (still && this.isOpen) this.commit(0);
      else if (still || kind) {
        this.close();
        this.source.enter?.();
      }
    });
    return true;
  }

  /** Tab after Escape brings the list back while the caret is still in the word. */
  #revives({ key, shiftKey }: Press): boolean {
    if (!this.#canceled || key !== "Tab" || shiftKey || !this.source.find()) return false;
    this.#canceled = false;
    void this.#look();
    return true;
  }

  #left(): void {
    this.#canceled = false;
    this.close();
  }

  #look(): Promise<void> {
    this.#timer = 0;
    const looking = this.#find().finally(() => {
      if (this.#looking === looking) this.#looking = null;
    });
    this.#looking = looking;
    return looking;
  }

  async #find(): Promise<void> {
    const question = this.source.find();
    if (!question) return this.#left();
    if (this.#canceled) return;
    const { kind } = question;
    if (!kind && question.terminator && this.isOpen) {
      return this.commit(this.state().selected, question.terminator);
    }
    this.#asked += 1;
    const mine = this.#asked;
    try {
      const people = (await this.source.ask(question)).slice(
        0,
        kind === "sound" ? undefined : MOST,
      );
      if (mine !== this.#asked) return;
      const { at, landmark } = question;
      if (kind && people.length === 0) return this.close();
      this.set({ people, ...(kind && { kind }), selected: 0, at, landmark, blinking: false });
      if (kind && question.terminator) return this.commit(0, "");
      if (kind) announce(`${people.length} ${CALLED[kind].toLowerCase()}`);
      else if (people.length === 0) announce(NOBODY);
      else announce(people.length === 1 ? "1 person" : `${people.length} people`);
    } catch {
      // Nobody answered: writing goes on without suggestions.
      if (mine === this.#asked) this.close();
    }
  }

  #blink(frames: number): void {
    if (frames > 0) requestAnimationFrame(() => this.#blink(frames - 1));
    else if (this.state().blinking) this.set(CLOSED);
  }
}

/** Keeps what a screen reader is told of a text box in step with its list. Returns the way out. */
export function tellReaders(box: HTMLElement, suggestions: Suggestions<Any>): () => void {
  const role = box.getAttribute("role") ?? "textbox";
  const tell = () => {
    const active = suggestions.activeId;
    box.setAttribute("role", active ? "combobox" : role);
    put(box, "aria-expanded", active ? "true" : role === "combobox" ? "false" : null);
    put(box, "aria-controls", active ? suggestions.listId : null);
    put(box, "aria-activedescendant", active);
    // A combobox is one line in the eyes of ARIA; the box is a text box again when the list goes.
    if (role === "textbox") put(box, "aria-multiline", active ? null : "true");
  };
  tell();
  return suggestions.subscribe(tell);
}

const put = (element: HTMLElement, name: string, value: string | null) =>
  value === null ? element.removeAttribute(name) : element.setAttribute(name, value);

// --- The list ---------------------------------------------------------------------------------

export function SuggestionList({ suggestions }: { suggestions: Suggestions<Any> }) {
  const { people, kind, selected, at, landmark, blinking } = useObservable(suggestions);
  // Joins the window: a list that hangs at a caret is wrong once the page moves under it.
  useEffect(() => {
    const gone = new AbortController();
    const close = () => suggestions.close();
    addEventListener("resize", close, gone);
    document.addEventListener("scroll", close, gone);
    return () => {
      close();
      gone.abort();
    };
  }, [suggestions]);
  if (!at) return null;
  if (people.length === 0) {
    return createPortal(
      <p className="autocomplete__list autocomplete__item shadow" ref={(box) => hang(box, at, 1)}>
        {NOBODY}
      </p>,
      landmark ?? document.body,
    );
  }
  const namesakes = (name: string) =>
    people.filter((other) => folded(other.name) === folded(name)).length > 1;
  return createPortal(
    <div
      className="autocomplete__list shadow"
      id={suggestions.listId}
      role="listbox"
      aria-label={CALLED[kind ?? "people"]}
      data-blinking={blinking || undefined}
      ref={(list) => hang(list, at, people.length)}
    >
      {people.map((person, index) => (
        <SuggestionRow
          key={"text" in person ? person.text : person.value}
          person={person}
          about={"text" in person || namesakes(person.name) ? person.about : ""}
          id={`${suggestions.listId}-${index}`}
          selected={index === selected}
          onPick={() => suggestions.commitLater(index)}
        />
      ))}
    </div>,
    landmark ?? document.body,
  );
}

function SuggestionRow(props: {
  person: Any;
  about: string;
  id: string;
  selected: boolean;
  onPick: () => void;
}) {
  const { person, about, id, selected, onPick } = props;
  return (
    <div
      className="autocomplete__item"
      id={id}
      role="option"
      aria-selected={selected}
      tabIndex={-1}
      // The text box keeps the focus: its caret is what the name replaces.
      onPointerDown={(event) => event.preventDefault()}
      onMouseDown={(event) => event.preventDefault()}
      onPointerEnter={() => sample(person)}
      onPointerLeave={() => sample()}
      onClick={onPick}
      onKeyDown={(event) => event.key === "Enter" && onPick()}
      ref={(row) => {
        if (selected) row?.scrollIntoView({ block: "nearest" });
      }}
    >
      <span className="autocomplete__btn">
        {"text" in person ? (
          <span className="boost-character" aria-hidden="true">
            {person.character}
          </span>
        ) : (
          <span className="avatar">
            <img src={person.avatar_url} width="48" height="48" alt="" />
          </span>
        )}
        <span>
          {person.name}
          {about && <small className="autocomplete__about">{about}</small>}
        </span>
      </span>
    </div>
  );
}

// --- Pages ------------------------------------------------------------------------------------

/** Asks what pages say; only the newest question is answered. */
export class Pages {
  #asked = 0;

  forget(): void {
    this.#asked += 1;
  }

  async find(url: string): Promise<api.Preview | null> {
    this.#asked += 1;
    const asked = this.#asked;
    if (!getState().features.opengraph) return null;
    const page = await api.unfurl(url).catch(() => null);
    return asked === this.#asked ? page : null;
  }
}
