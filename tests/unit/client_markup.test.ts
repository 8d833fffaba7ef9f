import { beforeAll, expect, test } from "vitest";
import { mentionedIds, safeHtml, sanitizing } from "../../static_bundle/src/lib/text";
import { survivors } from "../support/client_world";

// jsdom has no sanitizer of its own, so that this is DOMPurify.
beforeAll(() => sanitizing);

test.each([
  ['<img src=x onerror="alert(1)">', '<img src="x">'],
  ['<a href="javascript:alert(1)">x</a>', "<a>x</a>"],
  ['<p style="color:red" onclick="x()">a<script>b</script></p>', "<p>a</p>"],
  ['<img src="https://tracker.example/p.gif">', "<img>"],
  ["<form><input name=x></form>text", "text"],
])("the second wall turns %s into %s", (html, safe) => {
  expect(safeHtml(html)).toBe(safe);
});

test("the second wall leaves nothing to run in any attack on the first", () => {
  expect(survivors(safeHtml)).toEqual([]);
});

test("other sites open in their own tab, our own pages here", () => {
  const holder = document.createElement("div");
  holder.innerHTML = safeHtml(
    '<a href="https://example.com">a</a><a href="/rooms/5/@7" target="_blank">b</a>',
  );
  const [other, ours] = holder.querySelectorAll("a");

  expect(other?.rel).toBe("noopener noreferrer");
  expect(other?.target).toBe("_blank");
  expect(ours?.hasAttribute("target")).toBe(false);
});

test("a mention survives the second wall", () => {
  const html = `<action-text-attachment sgid="S" content-type="application/vnd.campfire.mention"><span class="mention" data-user-id="1"><a href="/users/1" class="btn avatar" title="David"><img src="/users/t/avatar" class="avatar" width="48" height="48" alt="" aria-hidden="true"></a> David</span></action-text-attachment>`;

  expect(safeHtml(html)).toContain('data-user-id="1"');
  expect(safeHtml(html)).toContain("action-text-attachment");
  expect(mentionedIds(html)).toEqual([1]);
});
