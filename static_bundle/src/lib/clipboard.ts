/**
 * What leaves by the clipboard: an address by a button, several messages with names and times; and
 * what comes into the editor from outside, and leaves it: nothing loads, nothing trails.
 */
import type { Message } from "./api";
import { escapeHtml, plainText } from "./text";

/** True when it was copied; else the person was shown it, selected, to copy it by hand. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without https there is no clipboard to write to, but what is selected can be copied.
    if (copyBySelection(text)) return true;
    prompt("Copy this:", text);
    return false;
  }
}

function copyBySelection(text: string): boolean {
  const focused = document.activeElement as HTMLElement | null;
  const field = document.createElement("textarea");
  field.className = "for-screen-reader";
  field.value = text;
  // Beside the button: an open dialog or menu takes the focus leaving it as a wish to close.
  (focused?.parentElement ?? document.body).append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus({ preventScroll: true });
  return copied;
}

/** More than one message is copied as who said it, when, and what; none of the buttons between. */
export function copyMessages(event: ClipboardEvent): void {
  const selection = getSelection();
  if (!(event.clipboardData && selection?.rangeCount)) return;
  const parts = partsOf(selection.getRangeAt(0), event.currentTarget as HTMLElement);
  if (parts.length < 2) return;
  event.preventDefault();
  const words = parts.map(({ head, html }) => `${head}\n${plainText(html).trim()}`);
  const markup = parts.map(({ head, html }) => `<p><b>${escapeHtml(head)}</b></p>${html}`);
  event.clipboardData.setData("text/plain", words.join("\n\n"));
  event.clipboardData.setData("text/html", markup.join(""));
}

/** What is selected of each message. */
function partsOf(range: Range, list: HTMLElement): { head: string; html: string }[] {
  const messages = [...list.querySelectorAll(".message")];
  return messages.flatMap((message) => {
    const words = message.querySelector(".message__presentation");
    if (!(words && range.intersectsNode(words))) return [];
    const holder = document.createElement("div");
    holder.append(within(range, words).cloneContents());
    const html = holder.innerHTML;
    const author = message.querySelector(".message__author")?.textContent;
    const time = message.querySelector<HTMLElement>(".message__timestamp")?.title;
    return plainText(html).trim() === "" ? [] : [{ head: `${author}, ${time}`, html }];
  });
}

function within(range: Range, element: Element): Range {
  const part = document.createRange();
  part.selectNodeContents(element);
  if (range.compareBoundaryPoints(Range.START_TO_START, part) > 0)
    part.setStart(range.startContainer, range.startOffset);
  if (range.compareBoundaryPoints(Range.END_TO_END, part) < 0)
    part.setEnd(range.endContainer, range.endOffset);
  return part;
}

// --- Pasting ------------------------------------------------------------------------------------

/** The editor's own words, cut or copied in it. */
export const OURS = "application/x-trix-document";

/** Nothing but an address; it ends where the server ends it. */
export const LONE_URL =
  /^https?:\/\/[^\s<>"«»“-‟‹›、。〈-】〔-〛〝-〟︐-︙︵-﹄！＂＇-），．：；？［］｛｝｟-､\u200b]+$/i;

/** What a browser would fetch from somewhere as soon as it stands in the page. */
const LOADS = "img, picture, video, audio, source, track, object, embed, iframe, svg, input, link";
const LONGEST_EMOJI = 32;

/** Pasted markup as Trix may have it: emoji for their pictures, tables as lines, code without its end. */
export function pastedHtml(html: string): string {
  // Parsed where nothing loads.
  const { body } = new DOMParser().parseFromString(html, "text/html");
  for (const picture of body.querySelectorAll("img")) {
    const isEmoji = picture.alt.length <= LONGEST_EMOJI && !/\p{L}/u.test(picture.alt);
    picture.replaceWith(isEmoji ? picture.alt : "");
  }
  for (const element of body.querySelectorAll(LOADS)) element.remove();
  for (const pre of body.querySelectorAll("pre")) pre.innerHTML = withoutBlankEnd(pre.innerHTML);
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
    const attachment = {
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
