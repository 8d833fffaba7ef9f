/**
 * Trix, wrapped once. It owns everything inside its host element; React never looks in there. Until
 * its chunk has come a plain editable box of the same look stands in and hands its text over.
 */
import { caretIn } from "../lib/browser";
import { cardOf } from "../lib/cable";
import type * as late from "../lib/markdown";
import { apply } from "../lib/store";
import * as words from "../lib/text";
import { insisted } from "../lib/trouble";
import {
  type Any,
  LANDMARK,
  offersFor,
  Pages,
  type Question,
  type Suggestions,
  tellReaders,
  type Word,
  wordAt,
} from "./autocomplete";
import { COMMAND, steer, TOOLS } from "./ui";

interface TrixElement extends HTMLElement {
  editor: TrixEditor;
  /** Not public, but nothing else says that typing waits for the next frame. */
  editorController: { inputController: { scheduledRender?: number | null; render?(): void } };
  value: string;
}

type TrixEditor = late.TrixEditor;
type Late = { trix: late.TrixModule; Markdown: typeof late.Markdown };
type Attachment = { getContentType(): string | undefined; remove(): void };
type AttachmentEvent = Event & { attachment: Attachment; toolbar: HTMLElement };

const MENTION = "application/vnd.campfire.mention";
const KEPT: (string | undefined)[] = [MENTION, words.PREVIEW];

let loading: Promise<Late> | null = null;
let loaded: Late | null = null;

/** A chunk of its own: asked for when the first editor is there, and never waited for. */
function loadTrix(): Promise<Late> {
  loading ??= insisted(fetchTrix);
  return loading;
}

async function fetchTrix(): Promise<Late> {
  // @ts-expect-error Trix ships no types.
  const chunks = [import("trix"), import("../lib/markdown")] as const;
  const [{ default: trix }, { configure, Markdown }] = await Promise.all(chunks);
  configure(trix);
  await customElements.whenDefined("trix-editor");
  loaded = { trix, Markdown };
  return loaded;
}

/** Whether marks become formats while one types, as this browser keeps it. */
export const markdown = {
  isOn: (): boolean => localStorage.getItem("markdown") !== "off",
  turn: (on: boolean): void => localStorage.setItem("markdown", on ? "on" : "off"),
};

// --- The editor -------------------------------------------------------------------------------

interface EditorOptions {
  label: string;
  html: string;
  /** Whose members can be mentioned. */
  room_id: number;
  suggestions: Suggestions<Any>;
  toolbar: "above" | "below";
}

interface EditorEvents {
  /** The text changed, by typing or by us. */
  onChange(): void;
  /** Before Trix sees it: what is taken here must be stopped here. */
  onKey(event: KeyboardEvent): void;
  /** Somebody pasted files. */
  onFiles(files: File[]): void;
}

let editors = 0;

export class Editor {
  /** The text box: the plain one at first, then Trix's. */
  #box: HTMLElement;
  readonly #host: HTMLElement;
  readonly #options: EditorOptions;
  readonly #events: EditorEvents;
  readonly #suggestions: Suggestions<Any>;
  readonly #pages = new Pages();
  readonly #plain: HTMLElement;
  readonly #plainStart: string;
  #trix: TrixElement | null = null;
  #markdown: late.Markdown | null = null;
  #toolbar: HTMLElement | null = null;
  #toolbarOpen: boolean;
  #gone = false;
  #untell: () => void = () => undefined;

  constructor(host: HTMLElement, options: EditorOptions, events: EditorEvents) {
    this.#host = host;
    this.#options = options;
    this.#events = events;
    this.#toolbarOpen = options.toolbar === "above";
    this.#suggestions = options.suggestions;
    this.#suggestions.source = {
      find: () => this.#question(),
      ask: (question) => offersFor(question, options.room_id),
      choose: (item, ending) => this.#insert(item, ending),
      enter: () => this.#enter(),
    };
    this.#plain = plainBox(options);
    this.#plainStart = this.#plainText;
    this.#box = this.#plain;
    host.addEventListener("keydown", this.#keyed, true);
    host.addEventListener("paste", this.#pasted, true);
    if (loaded) this.#mount(loaded);
    else this.#waitForTrix();
  }

  destroy(): void {
    this.#gone = true;
    this.#untell();
    this.#markdown?.destroy();
    this.#suggestions.close();
    if (this.#trix) settled(this.#trix);
    this.#host.removeEventListener("keydown", this.#keyed, true);
    this.#host.removeEventListener("paste", this.#pasted, true);
    this.#host.replaceChildren();
  }

  get html(): string {
    if (this.#trix) return words.withoutBlankEnd(settled(this.#trix).value);
    const text = this.#plainText;
    return text === this.#plainStart ? this.#options.html : words.textToHtml(text);
  }

  /** Nothing but white space: an attachment counts as something. */
  get isEmpty(): boolean {
    return this.text.trim() === "";
  }

  get text(): string {
    return this.#trix ? this.#trix.editor.getDocument().toString() : this.#plainText;
  }

  focus(): void {
    this.#box.focus();
  }

  focusEnd(): void {
    this.focus();
    this.#trix?.editor.setSelectedRange(this.text.length - 1);
    if (this.#trix) return;
    getSelection()?.selectAllChildren(this.#plain);
    getSelection()?.collapseToEnd();
  }

  /** Replaces everything; cannot be undone. */
  load(html: string): void {
    this.#pages.forget();
    if (html && this.#trix) exactly(this.#trix, html, ({ editor }) => editor.loadHTML(html));
    // No text need not be parsed, and this is what everybody waits for who has just sent some.
    else this.#trix?.editor.loadJSON({ document: [] });
    if (this.#trix) return;
    this.#plain.textContent = words.plainText(html);
    this.#events.onChange();
  }

  /** The same words in other markup: what is selected stays so, and a caret at the end. */
  refine(html: string): void {
    const selected = this.#trix?.editor.getSelectedRange();
    const inside = selected && selected[0] < this.text.length - 1;
    this.load(html);
    if (inside) this.#trix?.editor.setSelectedRange(selected);
    else this.focusEnd();
  }

  /** Puts `html` before what is written, as one step that undo takes back. */
  prepend(html: string, undoName: string): void {
    const editor = this.#trix?.editor;
    if (!editor) {
      void loadTrix().then(() => this.#gone || this.prepend(html, undoName));
      return;
    }
    editor.recordUndoEntry(undoName);
    editor.composition.replaceHTML(html + this.html);
    this.focusEnd();
  }

  showToolbar(open: boolean): void {
    this.#toolbarOpen = open;
    if (this.#toolbar) this.#toolbar.hidden = !open;
  }

  /** Says with a shake that this cannot be accepted. */
  shake(): void {
    this.#host.classList.remove("shake");
    // Reading a size makes the browser notice that the class was gone.
    void this.#host.offsetWidth;
    this.#host.classList.add("shake");
  }

  // --- Mentions ---

  #word(): Word | null {
    if (!this.#trix || document.activeElement !== this.#box || this.#markdown?.inCode) return null;
    const [start, end] = this.#trix.editor.getSelectedRange();
    return start === end ? wordAt(this.text, start, this.#suggestions.names) : null;
  }

  #question(): Question | null {
    const word = this.#word();
    const at = word && this.#trix?.editor.getClientRectAtPosition(word.start);
    if (!word || !at) return null;
    return { ...word, at, landmark: this.#box.closest(LANDMARK) };
  }

  #insert(item: Any, ending: string): void {
    const editor = this.#trix?.editor;
    const word = this.#word();
    if (!(editor && word && loaded)) return;
    editor.recordUndoEntry("Mention");
    editor.setSelectedRange([word.start, word.end]);
    if ("text" in item) editor.insertString(item.text);
    else {
      const said = { sgid: item.sgid, contentType: MENTION, content: words.mentionHtml(item) };
      editor.insertAttachment(new loaded.trix.Attachment(said));
    }
    // A sound is a message of its own.
    editor.insertString("sound" in item ? "" : ending);
  }

  /** The Enter that was held back: sends, or begins a line. */
  #enter(): void {
    const key = new KeyboardEvent("keydown", { key: "Enter", cancelable: true });
    this.#events.onKey(key);
    if (!key.defaultPrevented) this.#trix?.editor.insertLineBreak();
  }

  // --- Taking over from the plain box ---

  get #plainText(): string {
    return words.plainText(this.#plain.innerHTML);
  }

  #waitForTrix(): void {
    this.#host.replaceChildren(this.#plain);
    this.#plain.addEventListener("input", () => this.#events.onChange());
    // Without Trix the plain box stays; every message can still be written and sent.
    void loadTrix().then((late) => this.#gone || this.#mount(late));
  }

  #mount({ trix, Markdown }: Late): void {
    const { label, toolbar: side } = this.#options;
    const html = this.html;
    const caret = document.activeElement === this.#plain ? caretIn(this.#plain) : null;
    const { toolbar, input, box } = trixElements(label, html);
    // Trix looks for both by id the moment it is connected, so it comes last.
    this.#host.replaceChildren(input, toolbar);
    exactly(box, html, () => (side === "above" ? toolbar.after(box) : toolbar.before(box)));
    this.#trix = box;
    this.#toolbar = toolbar;
    this.#box = box;
    dressToolbar(toolbar);
    this.showToolbar(this.#toolbarOpen);
    this.#untell = tellReaders(box, this.#suggestions);
    this.#markdown = new Markdown(trix, box, {
      editor: () => settled(box).editor,
      isOn: markdown.isOn,
      enterBreaks: () => this.#toolbarOpen,
    });
    this.#listen(box);
    if (caret !== null) {
      box.focus();
      box.editor.setSelectedRange(caret);
    }
  }

  #listen(box: TrixElement): void {
    box.addEventListener("trix-change", () => {
      this.#events.onChange();
      this.#suggestions.changed();
    });
    box.addEventListener("trix-selection-change", () => {
      if (this.#toolbar) showPressed(this.#toolbar);
      this.#suggestions.moved();
    });
    box.addEventListener("blur", () => this.#suggestions.close());
    box.addEventListener("trix-action-invoke", () =>
      apply({ type: "viewed", item: { kind: "help" } }),
    );
    box.addEventListener("trix-file-accept", (event) => event.preventDefault());
    box.addEventListener("trix-attachment-add", (event) => {
      const { attachment } = event as AttachmentEvent;
      if (!KEPT.includes(attachment.getContentType())) attachment.remove();
    });
    box.addEventListener("trix-attachment-before-toolbar", (event) => {
      const { attachment, toolbar } = event as AttachmentEvent;
      if (attachment.getContentType() !== words.PREVIEW) return;
      const remove = toolbar.querySelector<HTMLElement>("[data-trix-action=remove]");
      if (remove) remove.title = remove.ariaLabel = "Remove preview";
    });
  }

  /** Keys and pastes in the toolbar's link dialog are its own business. */
  #owns(target: EventTarget | null): boolean {
    return target instanceof Node && this.#box.contains(target);
  }

  readonly #keyed = (event: KeyboardEvent): void => {
    // In Safari the Enter that ends a composition comes after it, with this code.
    if (event.key === "Escape" && (event.target as Element).matches(TOOLS)) {
      this.focus();
      this.#events.onKey(event);
      return;
    }
    if (!this.#owns(event.target) || event.isComposing || event.keyCode === 229) return;
    if (this.#suggestions.takes(event)) event.stopImmediatePropagation();
    else if (!this.#markdown?.takes(event)) this.#events.onKey(event);
  };

  readonly #pasted = (event: ClipboardEvent): void => {
    const data = event.clipboardData;
    if (!data || !this.#owns(event.target)) return;
    const text = data.getData("text/plain").trim();
    const files = words.pastedFiles(data, text);
    if (files.length > 0) {
      stop(event);
      this.#events.onFiles(files);
    } else if (!this.#trix) {
      stop(event);
      document.execCommand("insertText", false, data.getData("text/plain"));
    } else if (this.#markdown?.pastes(data, data.getData("text/plain"))) {
      stop(event);
    } else if (words.LONE_URL.test(text) && !data.types.includes("text/html")) {
      stop(event);
      this.#pasteLink(this.#trix.editor, text);
    } else if (data.types.includes("text/html") && !data.types.includes(words.OURS)) {
      stop(event);
      this.#trix.editor.recordUndoEntry("Paste");
      const html = words.pastedHtml(data.getData("text/html"));
      // Whoever has pasted code goes on outside of it, where Enter sends.
      const below = /<\/pre>(?:<\/\w+>|\s)*$/.test(html) ? "<div><br></div>" : "";
      this.#trix.editor.insertHTML(html + below);
      if (words.LONE_URL.test(text)) void this.#showPage(text);
    }
  };

  #pasteLink(editor: TrixEditor, url: string): void {
    editor.recordUndoEntry("Paste");
    const [start, end] = editor.getSelectedRange();
    const href = words.escapeHtml(url.replace(/^www\./i, "http://$&"));
    if (start < end) editor.activateAttribute("href", href);
    else {
      editor.insertHTML(`<a href="${href}">${words.escapeHtml(url)}</a>`);
      void this.#showPage(url);
    }
  }

  /** Shows the page behind its address, if that still stands there when it is known. */
  async #showPage(url: string): Promise<void> {
    const end = this.#trix?.editor.getSelectedRange()[1] ?? 0;
    const page = await this.#pages.find(url);
    const editor = this.#trix?.editor;
    const at = this.text.startsWith(url, end - url.length)
      ? end - url.length
      : this.text.indexOf(url);
    if (!(page && editor && loaded) || this.#gone || at < 0) return;
    const caret = editor.getSelectedRange();
    editor.recordUndoEntry("Preview");
    editor.setSelectedRange(at + url.length);
    editor.insertAttachment(new loaded.trix.Attachment(words.cardAttributes(cardOf(page))));
    const [from, to] = caret.map((place) => (place >= at + url.length ? place + 1 : place));
    editor.setSelectedRange([from ?? 0, to ?? 0]);
  }
}

/** Trix renders what is typed with the next frame, and its value with it; Enter may be sooner. */
function settled(box: TrixElement): TrixElement {
  const { inputController } = box.editorController;
  if (inputController.scheduledRender) inputController.render?.();
  return box;
}

/** Trix reads blanks as they are, where they are what the person wrote. */
function exactly(box: TrixElement, html: string, read: (box: TrixElement) => void) {
  box.classList.toggle(EXACT, words.keepsBlanks(html));
  read(box);
  box.classList.remove(EXACT);
}

const EXACT = "trix-content--exact";

function stop(event: Event) {
  event.preventDefault();
  event.stopImmediatePropagation();
}

function plainBox({ label, html }: EditorOptions): HTMLElement {
  const box = document.createElement("div");
  box.className = "trix-content";
  box.dataset.editor = "plain";
  box.contentEditable = "true";
  describe(box, label);
  box.textContent = words.plainText(html);
  return box;
}

function trixElements(label: string, html: string) {
  editors += 1;
  const toolbar = document.createElement("trix-toolbar");
  toolbar.id = `editor-toolbar-${editors}`;
  const hidden = { type: "hidden", id: `editor-input-${editors}`, value: html };
  const input = Object.assign(document.createElement("input"), hidden);
  const box = document.createElement("trix-editor") as TrixElement;
  box.className = "trix-content";
  box.setAttribute("toolbar", toolbar.id);
  box.setAttribute("input", input.id);
  describe(box, label);
  return { toolbar, input, box };
}

function describe(box: HTMLElement, label: string) {
  const said = { role: "textbox", "aria-multiline": "true", "aria-label": label, dir: "auto" };
  for (const [name, value] of Object.entries(said)) box.setAttribute(name, value);
}

// --- Its toolbar ------------------------------------------------------------------------------

/** Trix's own toolbar works by mouse only; this makes it one tab stop with arrow keys. */
function dressToolbar(toolbar: HTMLElement) {
  toolbar.setAttribute("role", "toolbar");
  toolbar.setAttribute("aria-label", "Formatting");
  toolbar.querySelector(".trix-button-group--file-tools")?.remove();
  const history = toolbar.querySelector<HTMLElement>(".trix-button-group--history-tools");
  // Hidden, not removed: the keys for undo and redo belong to these buttons.
  if (history) history.hidden = true;
  for (const button of toolbar.querySelectorAll<HTMLElement>("[data-trix-key]"))
    button.title += ` (${COMMAND}${button.dataset.trixKey?.toUpperCase()})`;
  mindLinks(toolbar);
  const help = `Keys and marks (${COMMAND}/)`;
  const button = `<button type="button" class="trix-button trix-button--icon" data-trix-action="x-help" title="${help}" aria-label="${help}">?</button>`;
  toolbar.querySelector(".trix-button-row")?.insertAdjacentHTML("beforeend", button);
  toolbar.querySelector(TOOLS)?.setAttribute("tabindex", "0");
  toolbar.addEventListener("keydown", (event) => {
    const button = (event.target as Element).closest<HTMLElement>(TOOLS);
    if (button) steer(event, toolbar, button);
  });
}

function showPressed(toolbar: HTMLElement) {
  for (const button of toolbar.querySelectorAll<HTMLElement>("[data-trix-attribute]")) {
    if (button.closest("[data-trix-dialog]")) continue;
    button.setAttribute("aria-pressed", String(button.hasAttribute("data-trix-active")));
  }
}

const REFUSED = "That is no web address. One looks like this: https://example.org/page";

/** An address may be typed as people say it; one that is none is refused in words. */
function mindLinks(toolbar: HTMLElement) {
  const field = toolbar.querySelector<HTMLInputElement>("[data-trix-dialog=href] [name=href]");
  if (!field) return;
  const reason = document.createElement("p");
  reason.className = "txt-small txt-negative";
  reason.setAttribute("role", "alert");
  field.closest("[data-trix-dialog]")?.append(reason);
  const check = (event: Event) => {
    const address = words.addressOf(field.value);
    reason.textContent = address ? "" : REFUSED;
    if (address) field.value = address;
    if (address) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    field.focus();
  };
  // Before Trix, which refuses without a word.
  toolbar.addEventListener(
    "keydown",
    (event) => event.key === "Enter" && event.target === field && check(event),
    true,
  );
  toolbar.addEventListener(
    "click",
    (event) => (event.target as Element).matches("[data-trix-method=setAttribute]") && check(event),
    true,
  );
  field.addEventListener("input", () => reason.replaceChildren());
}
