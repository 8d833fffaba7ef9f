import { expect, test } from "vitest";
import { mentionAt } from "../../static_bundle/src/components/autocomplete";
import * as text from "../../static_bundle/src/lib/text";
import names from "../support/names.json";

const FOLDED = names["names and how they are folded"] as [string, string][];
const RANKED = names["what is typed, a name, and its rank"] as [string, string, number | null][];

test.each(FOLDED)("a name is folded here as the server folds it: %s", (name, plain) => {
  expect(text.folded(name)).toBe(plain);
  expect(text.folded(plain)).toBe(plain);
});

test.each(RANKED)("what is typed finds here whom the server finds: %s, %s", (query, name, rank) => {
  // The server also offers names that hold it somewhere, for whoever asks without this client.
  expect(text.matchRank(query, name)).toBe(rank === 2 ? null : rank);
});

test("no name makes typing wait, whatever somebody called themselves", () => {
  const began = performance.now();
  for (const name of ["a ".repeat(127), "a".repeat(255), "ab ".repeat(85)])
    for (const query of [`${"a".repeat(40)}b`, "ab".repeat(40)])
      for (let person = 0; person < 20; person += 1) text.matchRank(query, name);

  expect(performance.now() - began).toBeLessThan(1000);
});

test("rooms and people are sorted by what they are looked for, numbers by their size", () => {
  const sorted = ["Zoë", "Ägidius", "adam", "Łukasz", "Room 10", "room 2", "Ömer", "Иван"];

  const named = sorted.map((name) => ({ name }));
  expect(named.sort(text.byName).map(({ name }) => name)).toEqual([
    "adam",
    "Ägidius",
    "Łukasz",
    "Ömer",
    "room 2",
    "Room 10",
    "Zoë",
    "Иван",
  ]);
});

test("a space is a part of a mention while a suggested name goes on like that", () => {
  const known = ["anna", "anna berg"];
  const at = (words: string, suggested: string[] = known) =>
    mentionAt(words, words.length, suggested)?.query;

  expect(at("hi @Anna ")).toBe("Anna ");
  expect(at("hi @Anna B")).toBe("Anna B");
  expect(at("@anna berg")).toBe("anna berg");
  expect(at("hi @Anna how")).toBeUndefined();
  expect(at("hi @Anna B", [])).toBeUndefined();
  expect(at("me@anna b")).toBeUndefined();
  expect(at("hi @An")).toBe("An");
});
