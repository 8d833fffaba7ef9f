/**
 * Marks that become formats while one types, the keys of code, and pasted text as it was meant: what
 * Trix does not do by itself. It is fetched with Trix.
 */
import { announce } from "./store";

// --- What we use of Trix ------------------------------------------------------------------------

type Range = [number, number];

interface TrixBlock {
  readonly text: object;
  getAttributes(): string[];
  getBlockBreakPosition(): number;
  getLastAttribute(): string | undefined;
  isTerminalBlock(): boolean;
}

interface TrixDocument {
  addAttributeAtRange(name: string, value: true, range: Range): TrixDocument;
  applyBlockAttributeAtRange(name: string, value: true, range: Range): TrixDocument;
  getBlockAtPosition(position: number): TrixBlock;
  getPieceAtPosition(position: number): { hasAttribute(name: string): boolean } | undefined;
  insertDocumentAtRange(document: TrixDocument, range: Range): TrixDocument;
  locationFromPosition(position: number): { index: number; offset: number };
  mergeDocumentAtRange(document: TrixDocument, range: Range): TrixDocument;
  removeTextAtRange(range: Range): TrixDocument;
  replaceBlock(block: TrixBlock, by: TrixBlock): TrixDocument;
}

export interface TrixEditor {
  composition: { replaceHTML(html: string): void; setDocument(document: TrixDocument): void };
  activateAttribute(name: string, value: string): void;
  deactivateAttribute(name: string): void;
  getClientRectAtPosition(position: number): DOMRect | undefined;
  getDocument(): TrixDocument;
  getSelectedRange(): Range;
  insertAttachment(attachment: object): void;
  insertHTML(html: string): void;
  insertLineBreak(): void;
  insertString(text: string): void;
  loadHTML(html: string): void;
  loadJSON(snapshot: { document: object[] }): void;
  recordUndoEntry(description: string): void;
  setSelectedRange(range: number | Range): void;
  undo(): void;
}

export interface TrixModule {
  Attachment: new (attributes: Record<string, string>) => object;
  Block: new (text: object | null, attributes: string[], html: Language) => TrixBlock;
  Document: { new (blocks: TrixBlock[]): TrixDocument; fromJSON(blocks: object[]): TrixDocument };
  config: Record<"blockAttributes" | "lang" | "textAttributes", Record<string, object | string>>;
}

/** Trix with our formats, our words and our colours. */
export function configure({ config }: TrixModule): void {
  const { blockAttributes, lang, textAttributes } = config;
  blockAttributes.cite = { tagName: "cite", inheritable: false };
  // The server keeps the language of code as a class.
  Object.assign(blockAttributes.code ?? {}, { htmlAttributes: ["class"] });
  textAttributes.inlineCode = { tagName: "code" };
  // The words that become a link.
  textAttributes.frozen = { style: { backgroundColor: "var(--color-selected)" } };
  Object.assign(lang, { strike: "Strike", outdent: "Less indent", indent: "More indent" });
  Object.assign(lang, { urlPlaceholder: "Web address", url: "Web address" });
}

// --- The rules: what a line means that ends in a mark ---------------------------------------------

/** The longest first: two stars are no italic. */
const MARKS = [
  ["**", "bold"],
  ["*", "italic"],
  ["_", "italic"],
  ["~~", "strike"],
  ["~", "strike"],
  ["```", "inlineCode"],
  ["`", "inlineCode"],
] as const;

/** Where the first of two marks stands in the line, and how wide they are. */
interface Marked {
  attribute: string;
  open: number;
  width: number;
}

const WORD = /[\p{L}\p{N}_]/u;
const WORD_OR_ESCAPE = /[\p{L}\p{N}_\\]$/u;
/** Something to read, or a mention: marks around marks are a face, or a rule. */
const WORDS = /[\p{L}\p{N}\p{Extended_Pictographic}\uFFFC]/u;
const ADDRESS = /(?:[a-z]:\/\/|(?<!\w)www\.)\S*$/i;

/** What the mark at the end of `line` closes, with `next` after it. */
export function markedIn(line: string, next = ""): Marked | null {
  for (const [mark, attribute] of MARKS) {
    const { length } = mark;
    const open = line.lastIndexOf(mark, line.length - 2 * length - 1);
    const [before, inside] = [line.slice(0, open), line.slice(open + length, -length)];
    const alone = !(inside.includes(mark.charAt(0)) || before.endsWith(mark.charAt(0)));
    const marks = line.endsWith(mark) && open >= 0 && alone && !mark.startsWith(next || " ");
    if (!marks || WORD_OR_ESCAPE.test(before) || inside.trim() === "") continue;
    if (attribute === "inlineCode" || reads(before, inside, next))
      return { attribute, open, width: length };
  }
  return null;
}

/** Words between marks, and no part of an address, or of code that is not closed yet. */
function reads(before: string, inside: string, next: string): boolean {
  const tight = WORDS.test(inside) && !/^[\s*_~^]|[\s*_~^\\]$/.test(inside);
  const elsewhere =
    ADDRESS.test(before) || ADDRESS.test(inside) || before.split("`").length % 2 < 1;
  return tight && !elsewhere && !WORD.test(next);
}

const STARTS: Record<string, string> = {
  "> ": "quote",
  "- ": "bullet",
  "* ": "bullet",
  "1. ": "number",
  "# ": "heading1",
};

/** Words after three backticks that are languages; whatever else stands there is code. */
const LANGUAGES = new Set(
  `bash c clojure cpp cs csharp css csv dart diff docker dockerfile elixir erlang go graphql groovy
  haskell html http ini java javascript js json jsx kotlin less lua makefile markdown md nginx
  objectivec ocaml patch perl php plain plaintext powershell py python r rb rs ruby rust sass scala
  scss sh shell sql svg swift text toml ts tsx txt typescript vim xml yaml yml zig zsh`.split(
    /\s+/,
  ),
);

type Language = { class?: string };

/** What a line of three backticks begins: `words` are no language, and the first of the code. */
export function fenceIn(line: string): { language: Language; words: string } | null {
  const [, rest] = /^```([^`]*)$/.exec(line) ?? [];
  const name = rest?.trim().toLowerCase();
  if (rest === undefined || name === undefined) return null;
  if (LANGUAGES.has(name)) return { language: { class: `language-${name}` }, words: "" };
  return { language: {}, words: rest.trimStart() };
}

// --- While one types ------------------------------------------------------------------------------

interface Place {
  document: TrixDocument;
  at: number;
  /** The line up to the caret, where it starts, and the letter after it. */
  line: string;
  start: number;
  next: string;
  block: TrixBlock;
  /** The text of the block up to the caret. */
  before: string;
}

interface Habits {
  /** The editor, with everything typed so far in it. */
  editor: () => TrixEditor;
  /** Whether marks become formats. */
  isOn: () => boolean;
  /** Whether Enter is a new line: with Shift it is a softer one then. */
  enterBreaks: () => boolean;
}

const ENDED = /(?:^|\n)(?:\n|```)$/;
const ENDING = /\n*(?:(?:^|\n)```)?$/;

/** What one editor does besides what Trix does. */
export class Markdown {
  readonly #trix: TrixModule;
  readonly #box: HTMLElement;
  readonly #habits: Habits;
  readonly #gone = new AbortController();

  constructor(trix: TrixModule, box: HTMLElement, habits: Habits) {
    this.#trix = trix;
    this.#box = box;
    this.#habits = habits;
    const { signal } = this.#gone;
    const host = box.parentElement ?? box;
    // Before Trix hears of it, and after.
    host.addEventListener("beforeinput", this.#breaking, { capture: true, signal });
    host.addEventListener("input", this.#typed, { signal });
  }

  destroy(): void {
    this.#gone.abort();
  }

  /** Nobody is mentioned in code. */
  get inCode(): boolean {
    const place = this.#place();
    if (!place || isCode(place.block)) return true;
    return isIn(place.document, ["inlineCode"], [place.at - 1, place.at]);
  }

  /** Keys that belong to the text, though elsewhere they would send or move. */
  takes(event: KeyboardEvent): boolean {
    const { key, shiftKey, ctrlKey, metaKey, altKey } = event;
    if (ctrlKey || metaKey || altKey || shiftKey) return false;
    const place = this.#place();
    if (key === "Enter") return this.#allCode() || (place !== null && this.#fence(place) !== null);
    const last = place && place.at === String(place.document).length - 1;
    if (key !== "ArrowDown" || !last || !isCode(place.block)) return false;
    event.preventDefault();
    this.#leave(place, /\n*$/);
    return true;
  }

  /** Takes what is pasted into code as it is, and text that has marks as what they mean. */
  pastes({ types }: DataTransfer, text: string): boolean {
    const editor = this.#habits.editor();
    const words = text.replace(/\r\n?/g, "\n");
    const [start] = editor.getSelectedRange();
    const meant = this.#habits.isOn() && !types.includes("text/html");
    const open = meant && isOpen(editor.getDocument().getBlockAtPosition(start));
    const blocks = open ? formatted(words) : null;
    if (!blocks && !this.#allCode()) return false;
    editor.recordUndoEntry("Paste");
    editor.insertString(words);
    if (!blocks) return true;
    const pasted = this.#trix.Document.fromJSON(blocks);
    const range: Range = [start, start + words.length];
    const whole = editor.getDocument().mergeDocumentAtRange(pasted, range);
    this.#change("Format what was pasted", whole, start + String(pasted).length - 1);
    this.#offer();
    return true;
  }

  /** A way back, until something else is written. */
  #offer(): void {
    const note = document.createElement("p");
    const button = document.createElement("button");
    note.className = "composer__offer";
    button.type = "button";
    button.textContent = "Paste as text";
    button.addEventListener("click", () => {
      this.#box.focus();
      this.#habits.editor().undo();
    });
    note.append("Pasted as formatted. ", button);
    this.#box.after(note);
    this.#box.addEventListener("trix-change", () => note.remove(), { once: true });
    announce("Pasted as formatted. Undo, or the button after the text, pastes it as text.");
  }

  // --- The keys of code ---

  readonly #breaking = (event: InputEvent): void => {
    const { inputType, isComposing, target } = event;
    const line = inputType === "insertLineBreak";
    if (target !== this.#box || isComposing || !(line || inputType === "insertParagraph")) return;
    if (!this.#breaks(line && !this.#habits.enterBreaks())) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };

  /** What Enter does where Trix would do something else. */
  #breaks(instead: boolean): boolean {
    const editor = this.#habits.editor();
    const place = this.#place();
    const fence = place && this.#fence(place);
    const end = place && isCode(place.block) && isAtEnd(place);
    const code = this.#allCode();
    if (place && fence) this.#openCode(place, fence);
    // The third empty line in a row, and a closing fence, are the end of code.
    else if (end && ENDED.test(place.before)) this.#leave(place, ENDING);
    // Where Enter sends, the other one goes on with a list, and ends it.
    else if (code || (instead && place?.block.getLastAttribute())) {
      editor.recordUndoEntry("Typing");
      if (code) editor.insertString("\n");
      else editor.insertLineBreak();
    } else return false;
    return true;
  }

  /** Out of the code, without what ends it. */
  #leave({ document, at, block, before }: Place, ending: RegExp): void {
    const { Block, Document } = this.#trix;
    const kept = before.replace(ending, "");
    const end = at - before.length + kept.length;
    const shorter = document.removeTextAtRange([end, at]);
    const below = new Block(null, block.getAttributes().slice(0, -1), {});
    const left = kept
      ? shorter.insertDocumentAtRange(new Document([below]), [end, end])
      : shorter.replaceBlock(shorter.getBlockAtPosition(end), below);
    this.#change("Leave code", left, kept ? end + 1 : end);
  }

  #fence({ line, block }: Place): ReturnType<typeof fenceIn> {
    return this.#habits.isOn() && !block.isTerminalBlock() ? fenceIn(line) : null;
  }

  #openCode(place: Place, { language, words }: NonNullable<ReturnType<typeof fenceIn>>): void {
    const { document, start, at } = place;
    const code = document
      .removeTextAtRange([start, at - words.length])
      .applyBlockAttributeAtRange("code", true, [start, start]);
    const block = code.getBlockAtPosition(start);
    const named = new this.#trix.Block(block.text, block.getAttributes(), language);
    this.#change("Markdown", code.replaceBlock(block, named), start + words.length);
    if (words) this.#habits.editor().insertString("\n");
    announce("Code. Two empty lines leave it.");
  }

  // --- Marks ---

  readonly #typed = (event: Event): void => {
    const { inputType, data, isComposing, target } = event as InputEvent;
    if (target !== this.#box || isComposing || inputType !== "insertText") return;
    const place = /[*_~` ]$/.test(data ?? "") && this.#habits.isOn() ? this.#place() : null;
    if (!place || isCode(place.block)) return;
    if (data?.endsWith(" ")) this.#begin(place);
    else this.#mark(place);
  };

  #begin(place: Place): void {
    const { document, line, start, at, block } = place;
    const fence = this.#fence({ ...place, line: line.slice(0, -1) });
    const attribute = STARTS[line];
    if (fence && !fence.words) this.#openCode(place, fence);
    else if (attribute && isOpen(block) && block.getLastAttribute() !== attribute) {
      const plain = document.removeTextAtRange([start, at]);
      const begun = plain.applyBlockAttributeAtRange(attribute, true, [start, start]);
      this.#change("Markdown", begun, start);
    }
  }

  #mark({ document, line, start, at, next }: Place): void {
    const marked = markedIn(line, next);
    if (!marked) return;
    const { attribute, width } = marked;
    const [open, close] = [start + marked.open, at - width];
    // Links and code stay what they are: no mark stands in one, and no code is made around one.
    const until = attribute === "inlineCode" ? at : open + width;
    const ranges: Range[] = [
      [open, until],
      [close, at],
    ];
    if (ranges.some((range) => isIn(document, ["inlineCode", "href"], range))) return;
    const plain = document
      .removeTextAtRange([close, at])
      .addAttributeAtRange(attribute, true, [open + width, close])
      .removeTextAtRange([open, open + width]);
    this.#change("Markdown", plain, close - width);
    // What follows is as it was before.
    this.#habits.editor().deactivateAttribute(attribute);
  }

  /** As one step that undo takes back. */
  #change(what: string, document: TrixDocument, at: number): void {
    const editor = this.#habits.editor();
    editor.recordUndoEntry(what);
    editor.composition.setDocument(document);
    editor.setSelectedRange(at);
  }

  /** Where the caret is; null when something is selected. */
  #place(): Place | null {
    const editor = this.#habits.editor();
    const [at, end] = editor.getSelectedRange();
    if (at !== end) return null;
    const document = editor.getDocument();
    const text = String(document);
    const start = at > 0 ? text.lastIndexOf("\n", at - 1) + 1 : 0;
    const next = String.fromCodePoint(text.codePointAt(at) ?? 0);
    const before = text.slice(at - document.locationFromPosition(at).offset, at);
    const block = document.getBlockAtPosition(at);
    return { document, at, line: text.slice(start, at), start, next, block, before };
  }

  /** All that is selected is in one block of code. */
  #allCode(): boolean {
    const editor = this.#habits.editor();
    const blockAt = (at: number) => editor.getDocument().getBlockAtPosition(at);
    const [from, to] = editor.getSelectedRange();
    return blockAt(from) === blockAt(to) && isCode(blockAt(to));
  }
}

const isCode = (block: TrixBlock) => block.getLastAttribute() === "code";

/** A block that may become a list, a quote or a heading. */
const isOpen = (block: TrixBlock) => block.getAttributes().every((name) => name === "quote");

/** Whether the block ends where the caret is. */
const isAtEnd = ({ block, before }: Place) => block.getBlockBreakPosition() === before.length;

function isIn(document: TrixDocument, names: string[], [from, to]: Range): boolean {
  for (let at = Math.max(from, 0); at < to; at += 1)
    if (names.some((name) => document.getPieceAtPosition(at)?.hasAttribute(name))) return true;
  return false;
}

// --- Pasted text ----------------------------------------------------------------------------------

interface Piece {
  type: "string";
  string: string;
  attributes: Record<string, true>;
}

interface Block {
  text: Piece[];
  attributes: string[];
  htmlAttributes?: Language;
}

const piece = (string: string, attributes: Piece["attributes"] = {}): Piece => {
  return { type: "string", string, attributes };
};

const FENCE = /^```(?!.*`)/;
const ITEM = /^(\s*)(?:([-*])|\d{1,3}[.)])\s+(?=\S)/;
/** Longer lines are nobody's handwriting. */
const LONGEST_LINE = 4000;

/** What a text with fences or list marks means, as Trix's blocks; null when it has none. */
export function formatted(text: string): Block[] | null {
  const lines = text.replace(/\n+$/, "").split("\n");
  if (!lines.some((line) => FENCE.test(line) || ITEM.test(line))) return null;
  const blocks: Block[] = [];
  while (lines.length > 0) {
    const line = lines.shift() ?? "";
    if (FENCE.test(line)) blocks.push(fenced(line, lines));
    else addLine(blocks, line);
  }
  // Between blocks there are no empty lines.
  for (const { text, attributes } of blocks.slice(0, -1))
    while (attributes.length === 0 && text.at(-1)?.string === "\n") text.pop();
  // Whoever has pasted code goes on outside of it.
  if (blocks.at(-1)?.attributes.includes("code")) blocks.push({ text: [], attributes: [] });
  return blocks;
}

/** The code from its fence to the next, which is taken off `lines`. */
function fenced(fence: string, lines: string[]): Block {
  const closing = lines.findIndex((line) => /^```\s*$/.test(line));
  const code = lines.splice(0, closing < 0 ? lines.length : closing + 1);
  if (closing >= 0) code.pop();
  const { language = {}, words = "" } = fenceIn(fence.trimEnd()) ?? {};
  const string = (words ? [words, ...code] : code).join("\n");
  return { text: string ? [piece(string)] : [], attributes: ["code"], htmlAttributes: language };
}

function addLine(blocks: Block[], line: string): void {
  const last = blocks.at(-1);
  const [mark, indent = "", bullet] = ITEM.exec(line) ?? [];
  if (mark) {
    const kind = bullet ? ["bulletList", "bullet"] : ["numberList", "number"];
    const outer = /^ ?$/.test(indent) ? [] : (last?.attributes.slice(0, 2) ?? []);
    const attributes = outer[0]?.endsWith("List") ? [...outer, ...kind] : kind;
    blocks.push({ text: inline(line.slice(mark.length)), attributes });
    return;
  }
  const [start = "", kind] = Object.entries(STARTS).find(([start]) => line.startsWith(start)) ?? [];
  const attributes = kind ? [kind] : [];
  const words = inline(line.slice(start.length));
  // Lines of one kind are lines of one block, but for headings.
  const same = kind !== "heading1" && last?.attributes.join() === attributes.join();
  if (same) last?.text.push(piece("\n"), ...words);
  else if (line !== "") blocks.push({ text: words, attributes });
}

/** A line of text, formatted as if it had been typed. */
function inline(line: string): Piece[] {
  if (line.length > LONGEST_LINE) return [piece(line)];
  let letters: Piece[] = [];
  for (let at = 0; at < line.length; at += 1) {
    letters.push(piece(line.charAt(at)));
    if (/[*_~`]/.test(line.charAt(at))) letters = closed(letters, line.charAt(at + 1));
  }
  const pieces: Piece[] = [];
  for (const { string, attributes } of letters) {
    const last = pieces.at(-1);
    const same = last && Object.keys(last.attributes).join() === Object.keys(attributes).join();
    if (same) last.string += string;
    else pieces.push(piece(string, attributes));
  }
  return pieces;
}

/** Without its marks, if the newest letter closes what another opens. */
function closed(letters: Piece[], next: string): Piece[] {
  // In code nothing is a mark.
  const line = letters.map(({ string, attributes }) => (attributes.inlineCode ? "x" : string));
  const marked = markedIn(line.join(""), next);
  if (!marked) return letters;
  const { attribute, open, width } = marked;
  const inside = letters.slice(open + width, -width).map(({ string, attributes }) => {
    return piece(string, { ...attributes, [attribute]: true });
  });
  return [...letters.slice(0, open), ...inside];
}
