/**
 * Trix, wrapped once. It owns everything inside its host element; React never looks in there. Until
 * its chunk has come a plain editable box of the same look stands in and hands its text over.
 */
import type { Suggestion } from "../lib/api";
import {
  escapeHtml,
  keepsBlanks,
  LONE_URL,
  OURS,
  pastedHtml,
  plainText,
  withoutBlankEnd,
} from "../lib/text";
import { insisted } from "../lib/trouble";
import {
  findPeople,
  LANDMARK,
  mentionAt,
  type Question,
  type Suggestions,
  tellReaders,
  type Word,
} from "./autocomplete";
import { BUTTONS, dressToolbar, showPressed } from "./toolbar";

// --- What we use of Trix ----------------------------------------------------------------------

interface TrixEditor {
  composition: { replaceHTML(html: string): void };
  activateAttribute(name: string, value: string): void;
  getClientRectAtPosition(position: number): DOMRect | undefined;
  getDocument(): { toString(): string };
  getSelectedRange(): [number, number];
  insertAttachment(attachment: object): void;
  insertHTML(html: string): void;
  insertLineBreak(): void;
  insertString(text: string): void;
  loadHTML(html: string): void;
  loadJSON(snapshot: { document: object[] }): void;
  recordUndoEntry(description: string): void;
  setSelectedRange(range: number | [number, number]): void;
}

interface TrixElement extends HTMLElement {
  editor: TrixEditor;
  /** Not public, but nothing else says that typing waits for the next frame. */
  editorController: { inputController: { scheduledRender?: number | null; render?(): void } };
  value: string;
}

interface TrixModule {
  Attachment: new (attributes: Record<string, string>) => object;
  config: {
    blockAttributes: { cite?: { tagName: string; inheritable: boolean } };
    lang: Record<string, string>;
  };
}

const MENTION = "application/vnd.campfire.mention";

let loading: Promise<TrixModule> | null = null;
let loaded: TrixModule | null = null;

/** A chunk of its own: asked for when the first editor is there, and never waited for. */
function loadTrix(): Promise<TrixModule> {
  // @ts-expect-error Trix ships no types.
  loading ??= insisted(() => import("trix")).then(async (module) => {
    const trix = module.default as unknown as TrixModule;
    trix.config.blockAttributes.cite = { tagName: "cite", inheritable: false };
    Object.assign(trix.config.lang, {
      strike: "Strike",
      outdent: "Less indent",
      indent: "More indent",
      urlPlaceholder: "Web address",
      url: "Web address",
    });
    await customElements.whenDefined("trix-editor");
    loaded = trix;
    return trix;
  });
  return loading;
}

// --- The editor -------------------------------------------------------------------------------

interface EditorOptions {
  label: string;
  html: string;
  /** Whose members can be mentioned. */
  room_id: number;
  suggestions: Suggestions;
  toolbar: "above" | "below";
}

interface EditorEvents {
  /** The text changed, by typing or by us. */
  onChange(): void;
  /** Before Trix sees it: what is taken here must be stopped here. */
  onKey(event: KeyboardEvent): void;
  /** Somebody pasted or dropped files. */
  onFiles(): void;
}

let editors = 0;

export class Editor {
  /** The text box: the plain one at first, then Trix's. */
  private box: HTMLElement;
  private readonly host: HTMLElement;
  private readonly options: EditorOptions;
  private readonly events: EditorEvents;
  private readonly suggestions: Suggestions;
  private readonly plain: HTMLElement;
  private readonly plainStart: string;
  private trix: TrixElement | null = null;
  private toolbar: HTMLElement | null = null;
  private toolbarOpen: boolean;
  private gone = false;
  private untell: () => void = () => undefined;

  constructor(host: HTMLElement, options: EditorOptions, events: EditorEvents) {
    this.host = host;
    this.options = options;
    this.events = events;
    this.toolbarOpen = options.toolbar === "above";
    this.suggestions = options.suggestions;
    this.suggestions.source = {
      find: () => this.question(),
      ask: (query) => findPeople(query, options.room_id),
      choose: (person, ending) => this.insertMention(person, ending),
      enter: () => this.enter(),
    };
    this.plain = plainBox(options);
    this.plainStart = this.plainText;
    this.box = this.plain;
    host.addEventListener("keydown", this.keyed, true);
    host.addEventListener("paste", this.pasted, true);
    if (loaded) this.mount();
    else this.waitForTrix();
  }

  destroy(): void {
    this.gone = true;
    this.untell();
    this.suggestions.close();
    if (this.trix) settled(this.trix);
    this.host.removeEventListener("keydown", this.keyed, true);
    this.host.removeEventListener("paste", this.pasted, true);
    this.host.replaceChildren();
  }

  get html(): string {
    if (this.trix) return withoutBlankEnd(settled(this.trix).value);
    const text = this.plainText;
    return text === this.plainStart ? this.options.html : textToHtml(text);
  }

  /** Nothing but white space: an attachment counts as something. */
  get isEmpty(): boolean {
    return this.text.trim() === "";
  }

  get text(): string {
    return this.trix ? this.trix.editor.getDocument().toString() : this.plainText;
  }

  focus(): void {
    this.box.focus();
  }

  focusEnd(): void {
    this.focus();
    this.trix?.editor.setSelectedRange(this.text.length - 1);
    if (!this.trix) getSelection()?.selectAllChildren(this.plain);
    if (!this.trix) getSelection()?.collapseToEnd();
  }

  /** Replaces everything; cannot be undone. */
  load(html: string): void {
    if (html && this.trix) exactly(this.trix, html, ({ editor }) => editor.loadHTML(html));
    // No text need not be parsed, and this is what everybody waits for who has just sent some.
    else this.trix?.editor.loadJSON({ document: [] });
    if (this.trix) return;
    this.plain.textContent = plainText(html);
    this.events.onChange();
  }

  /** The same words in other markup: what is selected stays so. */
  refine(html: string): void {
    const selected = this.trix?.editor.getSelectedRange();
    this.load(html);
    if (selected) this.trix?.editor.setSelectedRange(selected);
    else this.focusEnd();
  }

  /** Puts `html` before what is written, as one step that undo takes back. */
  prepend(html: string, undoName: string): void {
    const editor = this.trix?.editor;
    if (!editor) {
      void loadTrix().then(() => this.gone || this.prepend(html, undoName));
      return;
    }
    editor.recordUndoEntry(undoName);
    editor.composition.replaceHTML(html + this.html);
    this.focusEnd();
  }

  showToolbar(open: boolean): void {
    this.toolbarOpen = open;
    if (this.toolbar) this.toolbar.hidden = !open;
  }

  /** Says with a shake that this cannot be accepted. */
  shake(): void {
    this.host.classList.remove("shake");
    // Reading a size makes the browser notice that the class was gone.
    void this.host.offsetWidth;
    this.host.classList.add("shake");
  }

  // --- Mentions ---

  private word(): Word | null {
    if (!this.trix || document.activeElement !== this.box) return null;
    const [start, end] = this.trix.editor.getSelectedRange();
    return start === end ? mentionAt(this.text, start, this.suggestions.names) : null;
  }

  private question(): Question | null {
    const word = this.word();
    const at = word && this.trix?.editor.getClientRectAtPosition(word.start);
    if (!word || !at) return null;
    const { query, terminator } = word;
    return { query, terminator, at, landmark: this.box.closest(LANDMARK) };
  }

  private insertMention(person: Suggestion, ending: string): void {
    const editor = this.trix?.editor;
    const word = this.word();
    if (!(editor && word && loaded)) return;
    editor.recordUndoEntry("Mention");
    editor.setSelectedRange([word.start, word.end]);
    const content = mentionHtml(person);
    const attributes = { sgid: person.sgid, contentType: MENTION, content };
    editor.insertAttachment(new loaded.Attachment(attributes));
    editor.insertString(ending);
  }

  /** The Enter that was held back: sends, or begins a line. */
  private enter(): void {
    const key = new KeyboardEvent("keydown", { key: "Enter", cancelable: true });
    this.events.onKey(key);
    if (!key.defaultPrevented) this.trix?.editor.insertLineBreak();
  }

  // --- Taking over from the plain box ---

  private get plainText(): string {
    return plainText(this.plain.innerHTML);
  }

  private waitForTrix(): void {
    this.host.replaceChildren(this.plain);
    this.plain.addEventListener("input", () => this.events.onChange());
    // Without Trix the plain box stays; every message can still be written and sent.
    void loadTrix().then(() => this.gone || this.mount());
  }

  private mount(): void {
    const { label, toolbar: side } = this.options;
    const html = this.html;
    const caret = document.activeElement === this.plain ? caretIn(this.plain) : null;
    const { toolbar, input, box } = trixElements(label, html);
    // Trix looks for both by id the moment it is connected, so it comes last.
    this.host.replaceChildren(input, toolbar);
    exactly(box, html, () => (side === "above" ? toolbar.after(box) : toolbar.before(box)));
    this.trix = box;
    this.toolbar = toolbar;
    this.box = box;
    dressToolbar(toolbar);
    this.showToolbar(this.toolbarOpen);
    this.untell = tellReaders(box, this.suggestions);
    this.listen(box);
    if (caret !== null) {
      box.focus();
      box.editor.setSelectedRange(caret);
    }
  }

  private listen(box: TrixElement): void {
    box.addEventListener("trix-change", () => {
      this.events.onChange();
      this.suggestions.changed();
    });
    box.addEventListener("trix-selection-change", () => {
      if (this.toolbar) showPressed(this.toolbar);
      this.suggestions.moved();
    });
    box.addEventListener("blur", () => this.suggestions.close());
    box.addEventListener("trix-file-accept", (event) => event.preventDefault());
    box.addEventListener("trix-attachment-add", (event) => {
      const { attachment } = event as Event & { attachment: TrixAttachment };
      if (attachment.getContentType() !== MENTION) attachment.remove();
    });
  }

  /** Keys and pastes in the toolbar's link dialog are its own business. */
  private owns(target: EventTarget | null): boolean {
    return target instanceof Node && this.box.contains(target);
  }

  private isInToolbar(target: EventTarget | null): boolean {
    return target instanceof HTMLElement && target.matches(BUTTONS);
  }

  private readonly keyed = (event: KeyboardEvent): void => {
    // In Safari the Enter that ends a composition comes after it, with this code.
    if (event.key === "Escape" && this.isInToolbar(event.target)) {
      this.focus();
      this.events.onKey(event);
      return;
    }
    if (!this.owns(event.target) || event.isComposing || event.keyCode === 229) return;
    if (this.suggestions.takes(event)) event.stopImmediatePropagation();
    else this.events.onKey(event);
  };

  private readonly pasted = (event: ClipboardEvent): void => {
    const data = event.clipboardData;
    if (!data || !this.owns(event.target)) return;
    const text = data.getData("text/plain").trim();
    if (data.files.length > 0 && !text && !data.types.includes("text/html")) {
      stop(event);
      this.events.onFiles();
    } else if (!this.trix) {
      stop(event);
      document.execCommand("insertText", false, data.getData("text/plain"));
    } else if (LONE_URL.test(text) && !data.types.includes("text/html")) {
      stop(event);
      this.pasteLink(this.trix.editor, text);
    } else if (data.types.includes("text/html") && !data.types.includes(OURS)) {
      stop(event);
      this.trix.editor.recordUndoEntry("Paste");
      this.trix.editor.insertHTML(pastedHtml(data.getData("text/html")));
    }
  };

  private pasteLink(editor: TrixEditor, url: string): void {
    editor.recordUndoEntry("Paste");
    const [start, end] = editor.getSelectedRange();
    if (start < end) editor.activateAttribute("href", url);
    else editor.insertHTML(`<a href="${escapeHtml(url)}">${escapeHtml(url)}</a>`);
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
  box.classList.toggle(EXACT, keepsBlanks(html));
  read(box);
  box.classList.remove(EXACT);
}

const EXACT = "trix-content--exact";

interface TrixAttachment {
  getContentType(): string | undefined;
  remove(): void;
}

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
  box.textContent = plainText(html);
  return box;
}

function trixElements(label: string, html: string) {
  editors += 1;
  const toolbar = document.createElement("trix-toolbar");
  toolbar.id = `editor-toolbar-${editors}`;
  const input = document.createElement("input");
  input.type = "hidden";
  input.id = `editor-input-${editors}`;
  input.value = html;
  const box = document.createElement("trix-editor") as TrixElement;
  box.className = "trix-content";
  box.setAttribute("toolbar", toolbar.id);
  box.setAttribute("input", input.id);
  describe(box, label);
  return { toolbar, input, box };
}

function describe(box: HTMLElement, label: string) {
  box.setAttribute("role", "textbox");
  box.setAttribute("aria-multiline", "true");
  box.setAttribute("aria-label", label);
  box.setAttribute("dir", "auto");
}

/** Where the caret is, counted in characters of the box's text. */
function caretIn(box: HTMLElement): number {
  const selection = getSelection();
  if (!selection?.rangeCount) return box.textContent.length;
  const range = selection.getRangeAt(0).cloneRange();
  range.setStart(box, 0);
  return range.toString().length;
}

function textToHtml(text: string): string {
  const lines = text.replace(/\n$/, "").split("\n").map(escapeHtml);
  return text.trim() === "" ? "" : `<div>${lines.join("<br>")}</div>`;
}

/** The same markup as the server's, but for the link: a press in the editor places the caret. */
function mentionHtml({ value, avatar_url, name_html }: Suggestion): string {
  const picture = `<img src="${escapeHtml(avatar_url)}" class="avatar" width="48" height="48" alt="">`;
  return `<span class="mention" data-user-id="${value}">${picture} ${name_html}</span>`;
}
