import { describe, expect, test } from "vitest";
import { parseStreams } from "../../static_bundle/src/lib/cable";
import { goalsFor } from "../../static_bundle/src/lib/room-session";
import * as store from "../../static_bundle/src/lib/store";
import { boot, room, stream } from "../support/client_world";

const begun = store.reduce(store.START, { type: "booted", boot, path: "/rooms/1" });
const listed = [
  room(11, "General talk"),
  room(12, "Émile’s Bakery"),
  { ...room(13, "Quiet Corner"), unread: true },
  room(14, "Queue"),
];
const state = listed.reduce(
  (before, each) => store.reduce(before, { type: "room_listed", room: store.sidebarRoom(each) }),
  begun,
);
const names = (typed: string) => goalsFor(typed, state).map(({ name }) => name);

describe("where to go", () => {
  test("is found by letters in a row, by initials and without accents", () => {
    expect(names("gener")).toEqual(["General talk"]);
    expect(names("gt")).toEqual(["General talk"]);
    expect(names("emile")).toEqual(["Émile’s Bakery"]);
    expect(names("nothing like it")).toEqual([]);
  });

  test("begins with what is unread", () => {
    expect(names("qu")).toEqual(["Quiet Corner", "Queue"]);
    expect(names("")[0]).toBe("Quiet Corner");
  });

  test("is every room, every ping and everybody one could ping, each once", () => {
    const all = goalsFor("", state).map(({ key }) => key);
    const known = [...store.roomsIn(state), ...(state.sidebar?.placeholders ?? [])];
    expect(all).toHaveLength(known.length);
    expect(new Set(all).size).toBe(all.length);
  });
});

describe("a star", () => {
  const json = (starred: boolean) =>
    JSON.stringify({ ...room(14, "Queue"), starred }).replaceAll("'", "&#39;");
  const told = (starred: boolean, before: store.State) =>
    parseStreams(stream("replace", "star_14", `<i data-json='${json(starred)}'></i>`)).reduce(
      (now, event) => store.reduce(now, event as store.AppEvent),
      before,
    );
  const shared = ({ sidebar }: store.State) =>
    sidebar?.shared.map(({ display_name }) => display_name);

  test("moves a room to the head of its list and back", () => {
    const before = shared(state);
    const starred = told(true, state);

    expect(shared(starred)?.[0]).toBe("Queue");
    expect(shared(told(false, starred))).toEqual(before);
  });

  test("stays when everybody hears of the room, which says nothing of stars", () => {
    store.apply({ type: "booted", boot, path: "/rooms/1" });
    store.apply({
      type: "room_listed",
      room: { ...store.sidebarRoom(room(14, "Queue")), starred: true },
    });
    const { starred: _, ...publicly } = room(14, "Queues");
    const html = `<a data-room-id="14" data-json='${JSON.stringify(publicly)}'></a>`;
    for (const event of parseStreams(stream("replace", "list_room_14", html)))
      store.apply(event as store.AppEvent);

    const kept = store.getState().sidebar?.shared.find(({ id }) => id === 14);
    expect([kept?.display_name, kept?.starred]).toEqual(["Queues", true]);
  });
});
