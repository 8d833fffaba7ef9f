import { expect, test } from "vitest";
import type { Boost } from "../../static_bundle/src/lib/api";
import { alike, emojiIn } from "../../static_bundle/src/lib/messages";
import { formatting } from "../../static_bundle/src/lib/text";
import { message, person } from "../support/client_world";

const boost = (id: number, content: string, by = 1): Boost => ({
  id,
  message_id: 1,
  content,
  emoji_only: true,
  booster: person(by, `Person ${by}`),
  created_at: "2026-01-01T00:00:00.000Z",
});

test("boosts that are alike stand together, each once, in the order of their first", () => {
  const contents = ["👍", "🎉", "👍", "yes", "Yes", "🎉", "👍"];
  const boosts = contents.map((content, index) => boost(index + 1, content));

  const groups = alike(boosts);
  expect(groups.map((group) => group.map(({ id }) => id))).toEqual([[1, 3, 7], [2, 6], [4], [5]]);
  expect(groups.flat().sort((a, b) => a.id - b.id)).toEqual(boosts);
  expect(alike([])).toEqual([]);
});

test("the emoji of a room are those of its words and boosts, used last first, each once", () => {
  const messages = [
    message(1, { plain_text: "⛵ ahoy 🛟", boosts: [boost(1, "👍"), boost(2, "ok")] }),
    message(2, { plain_text: "flags 🇵🇹 and 👍", boosts: [boost(3, "🎉🎉"), boost(4, "🦀")] }),
  ];

  expect(emojiIn(messages)).toEqual(["🦀", "🎉", "🇵🇹", "👍", "⛵", "🛟"]);
  expect(emojiIn([message(1, { plain_text: "1 # no emoji" })])).toEqual([]);
});

test("a call to everyone mentions everybody but its author", () => {
  const call = message(1, { to_everyone: true, mentionee_ids: [] });

  const mentions = (id: number | undefined) => formatting(call, undefined, id).mentioned;
  expect(mentions(call.creator.id)).toBe(false);
  expect(mentions(call.creator.id + 1)).toBe(true);
  expect(mentions(undefined)).toBe(false);
});
