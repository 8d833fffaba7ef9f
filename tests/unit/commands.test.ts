import { expect, test } from "vitest";
import { wordAt } from "../../static_bundle/src/components/autocomplete";
import table from "../../static_bundle/src/emoji.json";
import type { Boot } from "../../static_bundle/src/lib/api";
import * as store from "../../static_bundle/src/lib/store";
import { isEmojiOnly } from "../../static_bundle/src/lib/text";
import { person } from "../support/client_world";

const names = ["tada", "tmyk", "totes", "yeah", "yay", "bell"];
const sounds = names.map((name) => ({ name, url: `/${name}.mp3`, text: null, image: null }));
const empty = { page: "welcome", params: {}, flash: {}, data: {} };
const boot = { ...empty, current_user: person(1, "David"), sounds } as unknown as Boot;
store.apply({ type: "booted", boot, path: "/" });

const at = (text: string, caret = text.length) => wordAt(text, caret, []);

test.each([
  [":tada", "tada", ""],
  ["so :TA", "TA", ""],
  ["(:+1", "+1", ""],
  ["hi \uFFFC:-1:", "-1", ":"],
  ["a\n:man-with", "man-with", ""],
])("the name of an emoji begins with a colon of its own: %s", (text, query, terminator) => {
  const start = text.indexOf(":");
  expect(at(text)).toEqual({ kind: "emoji", start, end: text.length, query, terminator });
});

test.each([
  ":",
  ":)",
  ":D",
  ":-)",
  ":p",
  "10:30",
  "at 10:30am",
  "::tada",
  "http://x",
  "a:tada",
  ": tada",
  ":tada ",
  ":tada!",
])("a colon says other things, too: %s", (text) => {
  expect(at(text)).toBeNull();
});

test("what stands behind the caret does not count, and a name begun long ago neither", () => {
  expect(at(":tada is over", 5)?.query).toBe("tada");
  expect(at(`:${"a".repeat(60)}`)).toBeNull();
});

test("a sound is offered while its command is all there is, until it is whole", () => {
  const command = (query: string, end: number) => {
    return { kind: "sound", start: 0, end, query, terminator: "" };
  };
  expect(at("/play")).toEqual(command("", 5));
  expect(at("/play\n", 5)).toEqual(command("", 5));
  expect(at("/play ")).toEqual(command("", 6));
  expect(at("/PLAY ya")).toEqual(command("ya", 8));
  for (const other of [
    "/play tada",
    "/pla",
    "so /play ta",
    "/play ta now",
    "/play?",
    "/play ta\nx",
  ])
    expect(at(other)).toBeNull();
  expect(at("/play ta", 3)).toBeNull();
});

test("people go on being called by an at sign", () => {
  expect(at("hi @ja")).toEqual({ start: 3, end: 6, query: "ja", terminator: "" });
});

test("the table has 400 emoji, the first 64 for the grid, each with names that lead to it alone", () => {
  const rows = Object.entries(table);
  const known = rows.flatMap(([, [, ...names]]) => names);

  expect(rows.length).toBe(400);
  expect(rows.filter(([emoji, [label]]) => !(isEmojiOnly(emoji) && label))).toEqual([]);
  expect(rows.filter(([, names]) => names.length < 2)).toEqual([]);
  expect(new Set(known).size).toBe(known.length);
  expect(known.filter((name) => at(`:${name}:`)?.query !== name)).toEqual(["v", "x"]);
  expect(rows[0]?.[0]).toBe("👍");
});
