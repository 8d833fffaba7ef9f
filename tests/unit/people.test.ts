import { describe, expect, test } from "vitest";
import type { User } from "../../static_bundle/src/lib/api";
import { parseStreams } from "../../static_bundle/src/lib/cable";
import * as store from "../../static_bundle/src/lib/store";
import {
  boot,
  davidHH,
  jasonF,
  kevin,
  person,
  personMarkup,
  room,
  stream,
} from "../support/client_world";

const inez = person(7, "Inez");

test("streams tell who joined, who is not what they were, and who left", () => {
  const html =
    stream("append", "people", personMarkup(inez)) +
    stream("replace", "person_2", personMarkup(jasonF)) +
    stream("remove", "person_7") +
    stream("replace", "person_8", "<i></i>");

  expect(parseStreams(html)).toEqual([
    { type: "person_changed", user: inez, joined: true },
    { type: "person_changed", user: jasonF, joined: false },
    { type: "person_left", user_id: 7 },
  ]);
});

describe("the strip of pings", () => {
  const before = store.reduce(store.START, { type: "booted", boot, path: "/rooms/1" });
  const told = (user: User, joined = false, state = before) =>
    store.reduce(state, { type: "person_changed", user, joined });
  const toPing = (state: store.State) => state.sidebar?.placeholders.map(({ name }) => name);
  const pings = (state: store.State) => state.sidebar?.directs.map((ping) => ping.display_name);

  test("takes in who joins, once and last, while there is room", () => {
    const after = told(inez, true, told(inez, true));

    expect(toPing(after)).toEqual(["David Heinemeier Hansson", "Kevin", "Inez"]);
    const many = Array.from({ length: 18 }, (_, at) => person(20 + at, `Guest ${at}`));
    const full = many.reduce((state, user) => told(user, true, state), before);
    expect(toPing(full)).toHaveLength(18);
    expect(toPing(told(inez, true, full))).not.toContain("Inez");
  });

  test("calls pings and people by their new names, and is rid of who left or is banned", () => {
    const renamed = told({ ...kevin, name: "Kay" });

    expect(pings(renamed)).toEqual(["Kay", "Jason Fried"]);
    expect(pings(told({ ...jasonF, name: "JF" }))).toEqual(["Kevin", "JF"]);
    const left = store.reduce(told(inez, true), { type: "person_left", user_id: 7 });
    expect(toPing(left)).not.toContain("Inez");
    const banned = told({ ...inez, status: "banned" }, false, told(inez, true));
    expect(toPing(banned)).toEqual(toPing(before));
  });

  test("never offers oneself, but knows one's new name", () => {
    const after = told({ ...davidHH, name: "David" });

    expect(after.me?.name).toBe("David");
    expect(toPing(after)).toEqual(["Kevin"]);
    expect(told(davidHH, true).joined).toEqual([]);
  });

  test("keeps the names of the last three who joined", () => {
    const names = ["Ann", "Ben", "Cleo", "Dora"];
    const after = names.reduce((s, name, at) => told(person(40 + at, name), true, s), before);

    expect(after.joined).toEqual(["Ben", "Cleo", "Dora"]);
    expect(told({ ...kevin, name: "Kay" }).joined).toEqual([]);
    expect(told(kevin, false, { ...before, room: room(1, "Watercooler") }).room?.id).toBe(1);
  });
});
