import { expect, test } from "vitest";
import { failed, getState } from "../../static_bundle/src/lib/store";
import {
  ApiError,
  NetworkError,
  NO_NETWORK,
  ROOM_GONE,
  sentenceOf,
} from "../../static_bundle/src/lib/trouble";

const MINUTE = 60_000;

test.each([
  [422, { code: "body_blank", message: "A message needs some words." }, null, /needs some words/],
  [503, { code: "database_busy", message: "Nothing was lost." }, 1000, /^Nothing was lost\.$/],
  [404, { code: "room_not_found", message: "Room not found or inaccessible" }, null, ROOM_GONE],
  [401, { code: "invalid_credentials", message: "unauthorized" }, null, /password don’t match/],
  [429, { code: "rate_limited", message: "unauthorized" }, 2 * MINUTE + 1, /again in 3 minutes\.$/],
  [429, { code: "rate_limited", message: "unauthorized" }, 1000, /again in a minute\.$/],
  [429, { code: "banned_ip", message: "unauthorized" }, null, /not let you in.+Try again/],
  [502, {}, null, /on our side\. Try again/],
  [400, {}, null, /Reload the page/],
])("the answer %i %o is said in words that help", (status, detail, wait, words) => {
  expect(sentenceOf(new ApiError(status, detail, wait))).toMatch(words);
});

test("no network is one sentence, whatever the browser calls it", () => {
  for (const cause of [new TypeError("Failed to fetch"), new TypeError("Load failed"), "Timeout"])
    expect(sentenceOf(new NetworkError(cause))).toBe(NO_NETWORK);
});

test("a mistake of ours is reported to the console, and told without its own words", () => {
  const reported: unknown[] = [];
  // Browsers have it, and jsdom has not.
  Object.assign(globalThis, { reportError: (problem: unknown) => reported.push(problem) });
  const mistake = new TypeError("undefined is not an object");

  failed(mistake);

  expect(getState().flash).toMatchObject({ kind: "alert" });
  expect(getState().flash?.text).toMatch(/^Something broke on this page\./);
  expect(reported).toEqual([mistake]);
});
