import { expect, test } from "vitest";
import {
  keepsBlanks,
  LONE_URL,
  pastedHtml,
  withoutBlankEnd,
} from "../../static_bundle/src/lib/text";

const CELL =
  '<html xmlns:x="urn:schemas-microsoft-com:office:excel"><body><table border=0>' +
  "<!--StartFragment-->\r\n <col width=64>\r\n <tr height=20>\r\n  <td height=20>42</td>\r\n </tr>";

test.each([
  ["a cell of a sheet is its words", CELL, "<div>42</div>"],
  [
    "cells of a table stand apart",
    "<table>\n<tr>\n<th>a</th>\n<td><b>b</b></td></tr>\n<tr><td> c</td><td></td></tr></table>",
    "<div>a | <b>b</b><br>c | </div>",
  ],
  ["a picture of an emoji is the emoji", 'hi <img alt="🎉" src="/x">', "hi 🎉"],
  ["a flag and a keycap are emoji", '<img alt="🇩🇪"><img alt="1️⃣">', "🇩🇪1️⃣"],
  ["any other picture is nothing", '<img src="/x" alt="A chart"><img src="/x">b', "b"],
  ["what loads is gone", '<video src="/x"></video><iframe src="/x"></iframe><svg></svg>a', "a"],
  ["code has no blank end", "<pre><code>x = 1\n\n</code></pre>", "<pre>x = 1</pre>"],
  [
    "code keeps its language, and nothing else of a highlighter",
    '<pre class="hljs language-py"><span class="a">x</span></pre><pre class="b">y</pre>',
    '<pre class="language-py"><span class="a">x</span></pre><pre>y</pre>',
  ],
])("of what is pasted, %s", (_, html, kept) => {
  expect(pastedHtml(html)).toBe(kept);
});

test.each([
  ["<div>last<br><br><br></div>", "<div>last</div>"],
  ["<div>a<br><br>b</div><div><br></div><div>&nbsp;</div>", "<div>a<br><br>b</div>"],
  ["<pre>x = 1\ny = 2\n<br></pre><div><br></div>", "<pre>x = 1\ny = 2</pre>"],
  ["<pre>x\n<br></pre><div>and <b>y</b></div>", "<pre>x</pre><div>and <b>y</b></div>"],
  ["<ul><li>a</li><li><br></li></ul>", "<ul><li>a</li></ul>"],
  ["<div>&nbsp; a</div>", "<div>&nbsp; a</div>"],
  ["<div><br></div>", ""],
  ["", ""],
])("blank lines at the end of a message go: %s", (html, kept) => {
  expect(withoutBlankEnd(html)).toBe(kept);
});

test("thousands of blank lines are taken off as fast as one", () => {
  const began = performance.now();
  withoutBlankEnd(`<div>${"<br>".repeat(15_000)}a${" ".repeat(60_000)}b</div>`);

  expect(performance.now() - began).toBeLessThan(500);
});

test("an address ends where East Asian writing goes on", () => {
  expect(LONE_URL.test("https://x.example/東京_(都)")).toBe(true);
  for (const end of ["。谢谢", "（作成済み）", "」", "，", "\u3000a"])
    expect(LONE_URL.test(`https://x.example/a${end}`)).toBe(false);
});

test("blanks are words where nobody broke the lines of the source", () => {
  expect(keepsBlanks("a\tb<br>  c<pre>x\ny</pre>")).toBe(true);
  expect(keepsBlanks("<ul>\n  <li>a</li>\n</ul>")).toBe(false);
});
