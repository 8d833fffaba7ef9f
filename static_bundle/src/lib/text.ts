/** Words, names, times and markup: pure functions from what the server says to what people read. */
import type { Message, Sound, Suggestion, User } from "./api";

// --- How a message looks, from itself and the one before it -------------------------------------

interface Formatting {
  own: boolean;
  mentioned: boolean;
  threaded: boolean;
  firstOfDay: boolean;
  emoji: boolean;
}

const THREADING_WINDOW = 300_000;

/** Derived while rendering, never stored: a neighbour that comes or goes changes it. */
export function formatting(
  message: Message,
  previous: Message | undefined,
  me_id: number | undefined,
): Formatting {
  return {
    own: message.creator.id === me_id,
    mentioned: me_id !== undefined && isFor(message, me_id),
    threaded: previous !== undefined && continues(message, previous),
    firstOfDay: previous === undefined || dayOf(message.timestamp) !== dayOf(previous.timestamp),
    emoji: message.emoji_only,
  };
}

function isFor({ mentionee_ids, to_everyone, creator }: Message, me_id: number): boolean {
  return mentionee_ids.includes(me_id) || (!!to_everyone && creator.id !== me_id);
}

function continues(message: Message, previous: Message): boolean {
  return (
    message.creator.id === previous.creator.id &&
    Math.abs(message.timestamp - previous.timestamp) <= THREADING_WINDOW
  );
}

const EMOJI = /^(?:\p{Emoji_Presentation}|\p{Extended_Pictographic}|\uFE0F)+$/u;

/** Nothing but emoji. Joined families and keycaps are not, by the same rule as the server's. */
export function isEmojiOnly(text: string): boolean {
  return EMOJI.test(text);
}

// --- Times ------------------------------------------------------------------------------------

const shortTime = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const longDate = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });
const shortBoth = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "short" });

export const formatTime = (ms: number): string => shortTime.format(ms);
export const formatDate = (ms: number): string => longDate.format(ms);
export const formatFull = (ms: number): string => shortBoth.format(ms);
/** The local midnight before it. */
const dayOf = (ms: number): number => new Date(ms).setHours(0, 0, 0, 0);

// --- Sizes ------------------------------------------------------------------------------------

function inUnits(bytes: number, step: number): string {
  const units = ["B", "KB", "MB", "GB"];
  let power = 0;
  while (power < 3 && bytes / step ** power >= step - 0.5) power += 1;
  const size = bytes / step ** power;
  return `${size.toFixed(power > 0 && size < 9.95 ? 1 : 0)} ${units[power]}`;
}

/** How much a file holds. */
export const sizeInWords = (bytes: number): string => inUnits(bytes, 1000);
/** How much one may hold, which operators count in powers of two. */
export const limitInWords = (bytes: number): string => inUnits(bytes, 1024).replace(".0", "");

export const emptyFile = (name: string): string => `${name} is empty.`;
export const largeFile = (name: string, most: number): string =>
  `${name} is too large. Files can be up to ${limitInWords(most)}.`;

// --- Names ------------------------------------------------------------------------------------

const wordsOf = (name: string): string[] => name.match(/[\p{L}\p{N}_]+/gu) ?? [];
const firstLetter = (word: string): string => String.fromCodePoint(word.codePointAt(0) ?? 0);

export function firstName(name: string): string {
  return name.trim().split(/\s+/)[0] ?? "";
}

/** "A", "A and B", "A, B, and C". */
export function sentence(words: readonly string[]): string {
  if (words.length < 3) return words.join(" and ");
  return `${words.slice(0, -1).join(", ")}, and ${words.at(-1)}`;
}

/** The label of a ping in the strip: a first name, or everybody's initials. */
export function directLabel(members: readonly Pick<User, "name">[]): string {
  const [only] = members;
  if (only && members.length === 1) return firstName(only.name);
  const letters = members.map(({ name }) =>
    wordsOf(name).slice(0, 3).map(firstLetter).join("").toUpperCase(),
  );
  return letters.length === 2 ? letters.join("+") : sentence(letters);
}

// --- Finding people by what was typed ----------------------------------------------------------

const PLAIN: Record<string, string> = {
  ł: "l",
  ø: "o",
  đ: "d",
  ð: "d",
  ħ: "h",
  ŧ: "t",
  ı: "i",
  æ: "ae",
  œ: "oe",
  þ: "th",
  ß: "ss",
  ς: "σ",
};

/** A name as it is looked for, folded as the server does: no case, no marks, plain letters. */
export const folded = (name: string): string =>
  name
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[\p{M}łøđðħŧıæœþßς]/gu, (letter) => PLAIN[letter] ?? "");

const { compare } = new Intl.Collator(undefined, { numeric: true });

type Named = { display_name: string } | { name: string };
const nameOf = (named: Named) => ("display_name" in named ? named.display_name : named.name);

/** Their order: by the names as they are looked for, and "Room 2" before "Room 10". */
export const byName = (a: Named, b: Named): number => compare(folded(nameOf(a)), folded(nameOf(b)));

/** People matching `query`: from the head of the name first, then from a later word, then by name. */
export function rankPeople<Person extends { name: string }>(
  query: string,
  people: readonly Person[],
): Person[] {
  return people
    .map((person) => ({ person, rank: matchRank(query, person.name) }))
    .filter(({ rank }) => rank !== null)
    .sort((a, b) => Number(a.rank) - Number(b.rank) || byName(a.person, b.person))
    .map(({ person }) => person);
}

/**
 * Where `query` matches `name`: 0 from its head, 1 from a later word, null nowhere. Each letter
 * follows the one before directly or begins a later word, so "jw" finds "Jonas Weber".
 */
export function matchRank(query: string, name: string): 0 | 1 | null {
  const letters = [...folded(query.trim())];
  const text = [...folded(name)];
  if (text.join("").startsWith(letters.join(""))) return 0;
  const starts = text.map((letter, at) => isWordLetter(letter) && !isWordLetter(text[at - 1]));
  // One letter after the other, at all places at once: no name can make this go back.
  const matches = (may: (at: number) => boolean | undefined) =>
    letters.every((typed) => {
      const here = new Set<number>();
      for (const [at, letter] of text.entries()) if (letter === typed && may(at)) here.add(at);
      const [first = text.length] = here;
      may = (at) => here.has(at - 1) || (starts[at] && at > first);
      return here.size > 0;
    });
  const head = starts.indexOf(true);
  if (matches((at) => at === head)) return 0;
  return matches((at) => starts[at]) ? 1 : null;
}

function isWordLetter(letter: string | undefined): boolean {
  return letter !== undefined && /[\p{L}\p{N}_]/u.test(letter);
}

// --- Markup -----------------------------------------------------------------------------------

const TAGS =
  `a abbr acronym address b big blockquote br cite code dd del dfn div dl dt em figcaption
  figure h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre samp small span strong sub sup time tt
  ul var action-text-attachment`.split(/\s+/);
const ATTRIBUTES = `alt aria-hidden class content-type data-user-id datetime decoding dir height
  href lang loading rel sgid src target title width`.split(/\s+/);
const SCHEMES = ["http:", "https:", "mailto:"];

/** Puts `html` into an element, without anything that is not in the lists. */
type Sanitizer = (holder: HTMLElement, html: string) => void;

/** Until a sanitizer is there, and where none can be had, there are words and no markup. */
let sanitize: Sanitizer = (holder, html) => {
  holder.textContent = plainText(html);
};

/** Kept when the sanitizer is there; the browser's own, or else one that is fetched. */
export const sanitizing: Promise<void> = sanitizer().then(
  (found) => {
    sanitize = found;
  },
  () => undefined,
);

async function sanitizer(): Promise<Sanitizer> {
  // The types of the DOM do not know it yet.
  type Native = { setHTML(html: string, options: { sanitizer: object }): void };
  const lists = { sanitizer: { elements: TAGS, attributes: ATTRIBUTES } };
  if ("setHTML" in Element.prototype)
    return (holder, html) => (holder as unknown as Native).setHTML(html, lists);
  const purify = (await import("dompurify")).default(window);
  purify.setConfig({
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    // A document for each message takes longer than what is done in it.
    IN_PLACE: true,
  });
  return (holder, html) => {
    holder.innerHTML = html;
    purify.sanitize(holder);
  };
}

const KEPT = 1000;
const cleaned = new Map<string, string>();
/** Where nothing loads or runs. */
const aside = new DOMParser().parseFromString("", "text/html");

/** The second wall behind the server's sanitizer; the only HTML that `MessageBody` may insert. */
export function safeHtml(html: string): string {
  const known = cleaned.get(html);
  if (known !== undefined) return known;
  const holder = aside.createElement("div");
  sanitize(holder, html);
  for (const link of holder.querySelectorAll<HTMLAnchorElement>("[href]")) aimLink(link);
  for (const image of holder.querySelectorAll<HTMLImageElement>("[src]"))
    if (!isOurs(image.src)) image.removeAttribute("src");
  // A heading in somebody's words is no heading of the page.
  for (const heading of holder.querySelectorAll("h1,h2,h3,h4,h5,h6"))
    heading.setAttribute("aria-level", "4");
  const clean = holder.innerHTML;
  if (cleaned.size >= KEPT) cleaned.clear();
  cleaned.set(html, clean);
  return clean;
}

/** Other sites open in a tab of their own; our own pages are routed by the client. */
function aimLink(link: HTMLAnchorElement): void {
  // Nothing but an anchor has a protocol, and nothing else leads anywhere.
  if (!SCHEMES.includes(link.protocol)) link.removeAttribute("href");
  if (isOurs(link.href)) {
    link.removeAttribute("target");
    link.removeAttribute("rel");
  } else {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
}

function isOurs(address: string): boolean {
  try {
    return new URL(address, location.href).origin === location.origin;
  } catch {
    return false;
  }
}

/** Whether the blanks in it are words: nobody broke its lines but where they end. */
export const keepsBlanks = (html: string): boolean =>
  !/\n/.test(html.replace(/<pre[\s\S]*?<\/pre>/g, ""));

/** `html` parsed where nothing in it loads or runs. */
export function inert(html: string): DocumentFragment {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

function written(fragment: DocumentFragment): string {
  const template = document.createElement("template");
  template.content.append(fragment);
  return template.innerHTML;
}

/** What a message will look like, from the editor's own HTML: its mentions become their content. */
export function editorToPresentation(html: string): string {
  const content = inert(html);
  for (const figure of content.querySelectorAll("[data-trix-attachment]")) {
    const attachment = inert(attachmentContent(figure.getAttribute("data-trix-attachment") ?? ""));
    figure.replaceWith(attachment);
  }
  const [card, ...others] = content.querySelectorAll(".og-embed");
  const rest = content.cloneNode(true) as DocumentFragment;
  rest.querySelector(".og-embed")?.remove();
  // Words that say no more than the card does are not shown beside it.
  const alone = rest.textContent?.trim() === card?.querySelector("a")?.getAttribute("href");
  return card && alone && others.length === 0 ? card.outerHTML : written(content);
}

function attachmentContent(json: string): string {
  try {
    const { content } = JSON.parse(json) as { content?: unknown };
    return typeof content === "string" ? content : "";
  } catch {
    return "";
  }
}

/** The people mentioned in HTML that the editor or the server made. */
export function mentionedIds(html: string): number[] {
  const mentions = [...inert(html).querySelectorAll<HTMLElement>(".mention[data-user-id]")];
  return [...new Set(mentions.map((mention) => Number(mention.dataset.userId)))];
}

const BLOCKS = "div,p,h1,h2,h3,h4,h5,h6,li,blockquote,pre,hr";

/** The text of some HTML, a line for each block. */
export function plainText(html: string): string {
  const content = inert(html);
  for (const block of content.querySelectorAll(BLOCKS)) block.append("\n");
  for (const br of content.querySelectorAll("br")) br.replaceWith("\n");
  return (content.textContent ?? "").replace(/\n+$/, "");
}

export function escapeHtml(text: string): string {
  const holder = document.createElement("div");
  holder.textContent = text;
  return holder.innerHTML;
}

/** The editor's new content for a reply: the quote, who said it and where, and an empty line. */
export function replyQuote(message: Message): string {
  const address = message.url ?? location.origin + message.path;
  const author = escapeHtml(message.creator.name);
  return `<blockquote>${quotable(message)}</blockquote><cite>${author} <a href="${escapeHtml(address)}">#</a></cite><br>`;
}

function quotable(message: Message): string {
  if (message.content_type === "attachment") return `📎 ${escapeHtml(message.plain_text)}`;
  if (message.sound) return escapeHtml(message.plain_text);
  const content = inert(message.body_html);
  for (const mention of content.querySelectorAll(".mention")) {
    mention.replaceWith((mention.textContent ?? "").trim());
  }
  const cards = [...content.querySelectorAll(CARD)];
  const address = cards[0]?.querySelector("a") ?? "";
  for (const card of cards) card.remove();
  for (const wrapper of content.querySelectorAll("action-text-attachment")) {
    wrapper.replaceWith(...wrapper.childNodes);
  }
  // What is nothing but pages is quoted by where the first is.
  if (!content.textContent?.trim() && address) {
    address.textContent = address.getAttribute("href");
    content.replaceChildren(address);
  }
  return written(content).trim();
}

/** The sound a message plays, when its whole text is `/play NAME` in any case. */
export function playCommand(html: string, sounds: readonly Sound[]): Sound | null {
  const [, name] = /^\/play (\w+)$/i.exec(plainText(html).trim()) ?? [];
  return sounds.find((sound) => sound.name === name?.toLowerCase()) ?? null;
}

// --- Into the editor ------------------------------------------------------------------------------------

/** The editor's own words, cut or copied in it. */
export const OURS = "application/x-trix-document";

/** Nothing but an address; it ends where the server ends it. */
export const LONE_URL =
  /^(?:https?:\/\/|www\.)[^\s<>"«»“-‟‹›、。〈-】〔-〛〝-〟︐-︙︵-﹄！＂＇-），．：；？［］｛｝｟-､\u200b]+$/i;

/** What a browser would fetch from somewhere as soon as it stands in the page. */
const LOADS = "img, picture, video, audio, source, track, object, embed, iframe, svg, input, link";
const LONGEST_EMOJI = 32;

/**
 * The files of a paste. Copied from a word processor, a text has its own picture beside it, which
 * nobody wants; a picture of a page has no words, and a file of a file manager no markup.
 */
export function pastedFiles({ files, types }: DataTransfer, text: string): File[] {
  const [first] = files;
  const pictured = files.length === 1 && first?.type.startsWith("image/");
  if (pictured && text && types.includes("text/html")) return [];
  return [...files].map((file) => (file.name === "image.png" ? screenshot(file) : file));
}

/** Browsers call every one the same. */
function screenshot(file: File): File {
  const now = new Date();
  const two = (...numbers: number[]) => numbers.map((each) => String(each).padStart(2, "0"));
  const date = two(now.getFullYear(), now.getMonth() + 1, now.getDate()).join("-");
  const time = two(now.getHours(), now.getMinutes(), now.getSeconds()).join(".");
  return new File([file], `Screenshot ${date} at ${time}.png`, { type: file.type });
}

/** Pasted markup as Trix may have it: emoji for their pictures, tables as lines, code without its end. */
export function pastedHtml(html: string): string {
  // Parsed where nothing loads.
  const { body } = new DOMParser().parseFromString(html, "text/html");
  for (const picture of body.querySelectorAll("img")) {
    const isEmoji = picture.alt.length <= LONGEST_EMOJI && !/\p{L}/u.test(picture.alt);
    picture.replaceWith(isEmoji ? picture.alt : "");
  }
  for (const element of body.querySelectorAll(LOADS)) element.remove();
  for (const pre of body.querySelectorAll("pre")) {
    pre.innerHTML = withoutBlankEnd(pre.innerHTML);
    // Of what a highlighter wrote, the language is kept.
    const classes = `${pre.className} ${pre.firstElementChild?.className}`;
    const [language] = /\blanguage-[\w-]+/.exec(classes) ?? [];
    pre.removeAttribute("class");
    for (const code of pre.querySelectorAll("code")) code.replaceWith(...code.childNodes);
    if (language) pre.className = language;
  }
  // From the innermost outwards: a table in a cell is a part of its line.
  for (const table of [...body.querySelectorAll("table")].reverse()) {
    const lines = body.ownerDocument.createElement("div");
    const rows = [...table.rows].map((row) => [...row.cells].map((cell) => cell.innerHTML.trim()));
    lines.innerHTML = rows.map((cells) => cells.join(" | ")).join("<br>");
    table.replaceWith(lines);
  }
  return body.innerHTML;
}

/** The editor's markup without blank lines at its end, or at the end of code. */
export function withoutBlankEnd(html: string): string {
  const shorter = html
    .replace(/(?<!\s|<br>)(?:\s|<br>)+<\/pre>/g, "</pre>")
    .replace(/(?<!\s|&nbsp;|<br>)(?:\s|&nbsp;|<br>)+((?:<\/\w+>)*)$/, "$1")
    .replace(/<(\w+)><\/\1>((?:<\/\w+>)*)$/, "$2");
  return shorter === html ? html : withoutBlankEnd(shorter);
}

/** The message as the editor wants it, good enough until the server's own version comes. */
export function editable({ body_html, plain_text, sound }: Message): string {
  if (sound) return `<div>${escapeHtml(plain_text)}</div>`;
  const template = document.createElement("template");
  template.innerHTML = body_html;
  for (const mention of template.content.querySelectorAll("action-text-attachment")) {
    const card = mention.querySelector<HTMLElement>(".og-embed");
    const attachment = card
      ? cardAttributes(card)
      : {
          sgid: mention.getAttribute("sgid"),
          contentType: mention.getAttribute("content-type"),
          content: mention.innerHTML,
        };
    const figure = document.createElement("figure");
    figure.dataset.trixAttachment = JSON.stringify(attachment);
    mention.replaceWith(figure);
  }
  return template.innerHTML;
}

export function textToHtml(text: string): string {
  const lines = text.replace(/\n$/, "").split("\n").map(escapeHtml);
  return text.trim() === "" ? "" : `<div>${lines.join("<br>")}</div>`;
}

/** The same markup as the server's, but for the link: a press in the editor places the caret. */
export function mentionHtml({ value, avatar_url, name_html }: Suggestion): string {
  const picture = `<img src="${escapeHtml(avatar_url)}" class="avatar" width="48" height="48" alt="">`;
  return `<span class="mention" data-user-id="${value}">${picture} ${name_html}</span>`;
}

// --- Pages that a message shows ------------------------------------------------------------------

export const PREVIEW = "application/vnd.actiontext.opengraph-embed";
const CARD = `action-text-attachment[content-type="${PREVIEW}"]`;

export function hostOf(address: string): string {
  return URL.canParse(address) ? new URL(address).host : "";
}

/** What the editor keeps of a page that it shows. */
export function cardAttributes(card: HTMLElement): Record<string, string> {
  const link = card.querySelector("a");
  const said = {
    href: link?.getAttribute("href"),
    filename: link?.textContent,
    caption: card.querySelector(".og-embed__description")?.textContent,
    url: card.querySelector("img")?.getAttribute("src"),
  };
  const known = Object.entries(said).filter((pair): pair is [string, string] => !!pair[1]);
  return { contentType: PREVIEW, content: card.outerHTML, ...Object.fromEntries(known) };
}

/** The whole address of what was typed; null when it is none that a link may have. */
export function addressOf(typed: string): string | null {
  const words = typed.trim();
  if (/^[^\s@/:]+@[^\s@/:]+$/.test(words)) return `mailto:${words}`;
  const whole = /^[a-z][a-z\d+.-]*:(?!\d)/i.test(words) ? words : `https://${words}`;
  return /^(?:https?:\/\/|mailto:)\S+$/i.test(whole) && URL.canParse(whole) ? whole : null;
}
