import { adapters } from "@rails/actioncable";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { highlightCode } from "../../static_bundle/src/components/ui";
import type { Boot, Message, Room } from "../../static_bundle/src/lib/api";
import { connect, disconnect, parseStreams } from "../../static_bundle/src/lib/cable";
import { Announcer, RoomSession, Typing } from "../../static_bundle/src/lib/room-session";
import * as store from "../../static_bundle/src/lib/store";
import * as text from "../../static_bundle/src/lib/text";
import {
  boostMarkup,
  boot,
  clap,
  davidHH as david,
  full,
  jasonF as jason,
  kevin,
  Line,
  spoken as message,
  messageMarkup,
  NOON,
  person,
  ping,
  presentationMarkup,
  pretend,
  room,
  roomMarkup,
  sidebar,
  sounding,
  stream,
  World,
} from "../support/client_world";

describe("a message under another", () => {
  const after = (ms: number, change: Partial<Message> = {}) =>
    text.formatting(message({ timestamp: NOON + ms, ...change }), message(), david.id);

  test.each([
    [0, true],
    [300_000, true],
    [300_001, false],
    [-300_000, true],
  ])("of the same author, %i ms later, is threaded: %s", (ms, threaded) => {
    expect(after(ms).threaded).toBe(threaded);
  });

  test("of another author starts anew", () => {
    expect(after(1000, { creator: jason }).threaded).toBe(false);
  });

  test("the first one on screen is never threaded and opens its day", () => {
    const first = text.formatting(message(), undefined, david.id);

    expect(first).toMatchObject({ threaded: false, firstOfDay: true });
  });

  test("across local midnight it opens the new day and is threaded all the same", () => {
    const midnight = new Date(2026, 0, 3).getTime();
    const before = message({ timestamp: midnight - 60_000 });
    const later = text.formatting(message({ timestamp: midnight + 60_000 }), before, david.id);

    expect(later).toMatchObject({ firstOfDay: true, threaded: true });
    expect(text.formatting(before, before, david.id).firstOfDay).toBe(false);
  });

  test("mentions by id, never by name, and is own by id", () => {
    const words = message({ plain_text: "@David Heinemeier Hansson", creator: david });

    const { mentioned, own } = text.formatting(words, undefined, david.id);
    expect([mentioned, own]).toEqual([false, true]);
    expect(after(0, { mentionee_ids: [1] })).toMatchObject({ mentioned: true, own: false });
  });
});

test.each([
  ["👍", true],
  ["❤️", true],
  ["👍👍", true],
  ["👍 ", false],
  ["1️⃣", false],
  ["👨‍👩‍👧", false],
  ["ok 👍", false],
  ["", false],
])("%s is nothing but emoji: %s", (words, only) => {
  expect(text.isEmojiOnly(words)).toBe(only);
});

test("a ping is labelled by a first name, or by everybody's initials", () => {
  expect(text.directLabel([jason])).toBe("Jason");
  expect(text.directLabel([jason, david])).toBe("JF+DHH");
  expect(text.directLabel([jason, david, kevin])).toBe("JF, DHH, and K");
  expect(text.sentence(["A", "B"])).toBe("A and B");
});

test("people are found by head, then by later word, then by name, whatever their accents", () => {
  const people = ["Jonas Weber", "Anna Jones", "Émile Jo", "Bjorn", "Jo"].map((name) => ({ name }));
  const found = (query: string) => text.rankPeople(query, people).map(({ name }) => name);

  expect(found("jo")).toEqual(["Jo", "Jonas Weber", "Anna Jones", "Émile Jo"]);
  expect(found("jw")).toEqual(["Jonas Weber"]);
  expect(found("em")).toEqual(["Émile Jo"]);
  expect(found("orn")).toEqual([]);
  expect(found("")).toEqual(["Anna Jones", "Bjorn", "Émile Jo", "Jo", "Jonas Weber"]);
});

test("a reply quotes the body with its mentions as plain names, and links to it", () => {
  const body_html =
    '<div>Ask <span class="mention" data-user-id="1"><a href="/users/1"><img src="/a"></a> David</span></div>';
  const quote = text.replyQuote(message({ body_html, creator: person(4, "<JZ>") }));

  expect(quote).toBe(
    '<blockquote><div>Ask David</div></blockquote><cite>&lt;JZ&gt; <a href="http://campfire.test/rooms/5/@77">#</a></cite><br>',
  );
});

test("what the editor holds is a sound, or words", () => {
  const bell = { name: "bell", url: "/sounds/bell.mp3", text: "🔔", image: null };

  expect(text.playCommand("<div>/PLAY Bell</div>", [bell])).toBe(bell);
  expect(text.playCommand("<div>/play nosuch</div>", [bell])).toBeNull();
  expect(text.playCommand("<div>/play bell now</div>", [bell])).toBeNull();
  expect(text.plainText("<div>a<br>b</div><ul><li>c</li></ul>")).toBe("a\nb\nc");
});

test("code is coloured once, and only where it is plain", async () => {
  const holder = document.createElement("div");
  holder.innerHTML = '<pre class="language-python">def f(): return 1</pre><pre>a<b>c</b></pre>';
  await highlightCode(holder);

  expect(holder.querySelector(".hljs-keyword")?.textContent).toBe("def");
  expect(holder.querySelectorAll("[data-highlighted]")).toHaveLength(1);
});

describe("a Turbo Stream", () => {
  test("carries every field of the message's JSON", () => {
    const html = stream("append", "messages_room_5", messageMarkup(full) + messageMarkup(sounding));

    expect(parseStreams(html)).toEqual([{ type: "messages_appended", messages: [full, sounding] }]);
    expect(parseStreams(stream("replace", "message_k3x9", messageMarkup(full)))).toEqual([
      { type: "message_replaced", message: full },
    ]);
  });

  test("replaces the words of a message alone", () => {
    const html = stream("replace", "presentation_message_k3x9", presentationMarkup(full));
    const [event] = parseStreams(html);

    expect(event).toMatchObject({ type: "presentation_replaced", client_message_id: "k3x9" });
    expect(event).toMatchObject({
      presentation: { plain_text: full.plain_text, links: full.links },
    });
  });

  test("adds and removes boosts and messages by their ids", () => {
    expect(parseStreams(stream("append", "boosts_message_a:b.c", boostMarkup(clap)))).toEqual([
      { type: "boost_added", client_message_id: "a:b.c", boost: clap },
    ]);
    expect(parseStreams(stream("remove", "boost_12") + stream("remove", "message_x"))).toEqual([
      { type: "boost_removed", boost_id: 12 },
      { type: "message_removed", client_message_id: "x" },
    ]);
  });

  test("lists rooms and pings", () => {
    const shared = roomMarkup(room(5, "Designers", { type: "closed" }));
    const direct = roomMarkup({ ...ping(8, jason, kevin), updated_at_ms: 99 });
    const html =
      stream("prepend", "shared_rooms", shared) + stream("prepend", "direct_rooms", direct);

    expect(parseStreams(html)).toMatchObject([
      {
        type: "room_listed",
        room: { id: 5, type: "closed", display_name: "Designers", path: "/rooms/5", members: null },
      },
      {
        type: "room_listed",
        room: { id: 8, unread: false, updated_at_ms: 99, display_name: "Jason Fried and Kevin" },
      },
    ]);
    expect(parseStreams(stream("remove", "list_room_8"))).toEqual([
      { type: "room_delisted", room_id: 8 },
    ]);
  });

  test("that is unknown, or holds a message nobody could render, tells nothing", () => {
    const broken = '<div class="message message--formatted message--failed center">Failed</div>';

    expect(parseStreams(stream("refresh", "") + stream("append", "elsewhere", broken))).toEqual([]);
    expect(parseStreams(stream("append", "messages_room_5", broken))).toEqual([
      { type: "messages_appended", messages: [] },
    ]);
  });
});

describe("the store", () => {
  const after = (...events: store.AppEvent[]) =>
    events.reduce(
      store.reduce,
      store.reduce(store.START, { type: "booted", boot, path: "/rooms/1" }),
    );
  const names = (state: store.State) => state.sidebar?.shared.map((entry) => entry.display_name);
  const pings = (state: store.State) => state.sidebar?.directs.map(({ id }) => id);
  const listing = (entry: Room): store.SidebarRoom => ({ ...entry });

  test("sorts rooms by name, whatever their case, and pings by their last activity", () => {
    const state = after({ type: "room_listed", room: listing(room(4, "Émile's")) });

    expect(names(state)).toEqual(["designers 🎨", "Émile's", "HQ", "Watercooler"]);
    expect(pings(state)).toEqual([11, 10]);
  });

  test("a message elsewhere marks its room unread, and moves its ping to the front", () => {
    const state = after(
      { type: "room_unread", room_id: 3, at_ms: NOON },
      { type: "room_unread", room_id: 10, at_ms: NOON },
      { type: "room_unread", room_id: 1, at_ms: NOON },
      { type: "room_unread", room_id: 99, at_ms: NOON },
    );

    expect(store.unreadCount(state)).toBe(2);
    expect(pings(state)).toEqual([10, 11]);
    expect(store.unreadCount(store.reduce(state, { type: "room_read", room_id: 10 }))).toBe(1);
  });

  test("the room on screen is read", () => {
    const sidebar_loaded = { ...sidebar, shared: [room(1, "Watercooler", { unread: true })] };

    expect(store.unreadCount(after({ type: "sidebar_loaded", sidebar: sidebar_loaded }))).toBe(0);
  });

  test("a ping that begins takes its people off the list of those to ping", () => {
    const state = after({ type: "room_listed", room: listing(ping(12, kevin)) });

    expect(state.sidebar?.placeholders.map(({ id }) => id)).toEqual([david.id]);
  });

  test("a rename reaches the list and the room on screen, and nobody who does not list it", () => {
    const state = after(
      { type: "room_renamed", room: listing(room(1, "Lobby")) },
      { type: "room_renamed", room: listing(room(50, "Secret")) },
    );

    expect(names(state)).toEqual(["designers 🎨", "HQ", "Lobby"]);
    expect(state.room?.display_name).toBe("Lobby");
  });

  test("the room on screen is gone when deleted or refused, but not when it is only hidden", () => {
    const hidden = after({ type: "room_removed", room_id: 1, deleted: false });

    expect(hidden.room_gone).toBe(false);
    expect(names(hidden)).not.toContain("Watercooler");
    expect(after({ type: "room_removed", room_id: 1, deleted: true }).room_gone).toBe("deleted");
    expect(after({ type: "room_refused", room_id: 1 }).room_gone).toBe("refused");
    expect(after({ type: "room_refused", room_id: 2 }).room_gone).toBe(false);
  });

  test("the same flash twice is two flashes, and only the one on screen can be over", () => {
    const flash = { type: "flashed", kind: "notice", text: "Saved." } as const;
    const state = after(flash, flash);

    expect(store.reduce(state, { type: "flash_over", key: 1 })).toBe(state);
    expect(store.reduce(state, { type: "flash_over", key: 2 }).flash).toBeNull();
  });

  test("what changes nothing is the same state", () => {
    const state = after();

    expect(store.reduce(state, { type: "connection_changed", connected: true })).toBe(state);
    expect(store.reduce(state, { type: "room_read", room_id: 3 })).toBe(state);
    expect(store.reduce(state, { type: "room_removed", room_id: 77, deleted: true })).toBe(state);
  });
});

describe("with the clock in hand", () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: NOON });
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  test("ten keys in a second tell once that I type, and an empty editor tells that I stopped", () => {
    const typing = new Typing();
    const told: string[] = [];
    typing.subscription = { perform: (action: string) => told.push(action) > 0 };
    typing.stop();
    for (let key = 0; key < 10; key += 1) {
      typing.changed(true);
      vi.advanceTimersByTime(99);
    }
    expect(told).toEqual(["start"]);
    vi.advanceTimersByTime(10);
    typing.changed(true);
    typing.changed(false);
    typing.changed(false);

    expect(told).toEqual(["start", "start", "stop"]);
  });

  test("others' names are sorted, and gone five to six seconds after their last key", () => {
    store.apply({ type: "me_changed", user: david });
    const typing = new Typing();
    for (const someone of [kevin, jason, david]) typing.receive("start", someone);
    expect(typing.state()).toEqual(["Jason Fried", "Kevin"]);
    vi.advanceTimersByTime(5000);
    expect(typing.state()).toHaveLength(2);
    typing.receive("start", kevin);
    vi.advanceTimersByTime(1000);

    expect(typing.state()).toEqual(["Kevin"]);
    typing.receive("stop", kevin);
    expect(typing.state()).toEqual([]);
  });

  test("one message is read out, several become a number, and mentions of me go first", () => {
    const announcer = new Announcer();
    const spoken = () => store.getState().polite.text;
    announcer.tell([message({ plain_text: "x".repeat(200) })], david.id);
    vi.advanceTimersByTime(1000);
    expect(spoken()).toBe(`Kevin: ${"x".repeat(113)}`);
    announcer.tell(
      [message(), message(), message({ plain_text: "@David", mentionee_ids: [1] })],
      david.id,
    );
    expect(spoken()).toBe("Kevin: @David");
    vi.advanceTimersByTime(1000);

    expect(spoken()).toBe("2 new messages");
  });
});

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe("the cable", () => {
  const line = () => Line.lines.at(-1) as Line;
  const session = () =>
    new RoomSession({
      ...new World(3).roomPage(),
      room: { id: 5, streams: { messages: "m" } } as Room,
    });

  beforeEach(() => {
    vi.useFakeTimers({ now: NOON });
    Line.lines = [];
    adapters.WebSocket = Line as unknown as typeof WebSocket;
    const base = { page: "welcome", params: {}, flash: {}, data: {}, cable_url: "ws://x/cable" };
    const streams = { rooms: "r", user_rooms: "u" };
    const signedIn = { ...base, current_user: david, streams, sounds: [] } as unknown as Boot;
    store.apply({ type: "booted", boot: signedIn, path: "/" });
    connect(() => 0);
  });

  afterEach(() => {
    disconnect();
    vi.useRealTimers();
  });

  test("is missed after five seconds, and tried again and again until it is back", async () => {
    await pass(4999);
    expect(store.getState().connected).toBe(true);
    await pass(1);
    expect(store.getState().connected).toBe(false);
    line().answer();
    await pass(0);
    expect(store.getState().connected).toBe(true);

    // The library's own monitor comes in between, but never too late.
    for (const wait of [250, 250, 250, 250, 250, 250, 1000, 2000, 3000, 5000, 5000]) {
      const tried = Line.lines.length;
      line().close();
      await pass(wait - 1);
      if (wait <= 2000) expect(Line.lines).toHaveLength(tried);
      await pass(1);
      expect(Line.lines.length).toBeGreaterThan(tried);
    }
    line().answer();
    await pass(5000);
    expect(store.getState().connected).toBe(true);
  });

  test("is missed after five seconds without a network, unless it lives through them", async () => {
    let onLine = false;
    pretend(navigator, "onLine", () => onLine);
    line().answer();
    await pass(0);
    dispatchEvent(new Event("offline"));
    await pass(4999);
    expect(store.getState()).toMatchObject({ connected: true, network: false });
    await pass(1);
    expect(store.getState().connected).toBe(false);
    onLine = true;
    dispatchEvent(new Event("online"));

    expect(store.getState()).toMatchObject({ connected: true, network: true });
  });

  test("catches up after every connection, with the same subscriptions", async () => {
    const leave = session().open();
    line().answer();
    await pass(0);
    expect(line().said("RoomMessagesChannel")).toEqual(["catch_up"]);
    line().close();
    await pass(500);
    line().answer();
    await pass(0);

    expect(line().said("RoomMessagesChannel")).toEqual(["catch_up"]);
    leave();
    expect(line().sent.filter(({ command }) => command === "unsubscribe")).toHaveLength(3);
  });

  test("says every 50 s that I am here, and five seconds after hiding that I am not", async () => {
    let visibility = "visible";
    pretend(document, "visibilityState", () => visibility);
    const look = (state: string) => {
      visibility = state;
      document.dispatchEvent(new Event("visibilitychange"));
    };
    const leave = session().open();
    const ping = setInterval(() => line().hear({ type: "ping" }), 3000);
    line().answer();
    await pass(50_000);
    expect(line().said("PresenceChannel")).toEqual(["refresh"]);
    look("hidden");
    await pass(4900);
    look("visible");
    await pass(5000);
    expect(line().said("PresenceChannel")).toEqual(["refresh"]);
    look("hidden");
    await pass(5000);
    expect(line().said("PresenceChannel")).toEqual(["refresh", "absent"]);
    await pass(50_000);
    look("visible");
    await pass(5000);

    expect(line().said("PresenceChannel")).toEqual(["refresh", "absent", "present"]);
    clearInterval(ping);
    leave();
  });
});
