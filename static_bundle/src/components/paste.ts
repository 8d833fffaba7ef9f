/** What comes into the editor from outside, and what leaves it: nothing loads, nothing trails. */

import type { Message } from "../lib/api";
import { escapeHtml } from "../lib/text";

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
