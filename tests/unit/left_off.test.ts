import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { firstNew } from "../../static_bundle/src/lib/messages";
import { newAbove } from "../../static_bundle/src/lib/room-session";
import * as store from "../../static_bundle/src/lib/store";
import { Timeline } from "../../static_bundle/src/lib/timeline";
import * as w from "../support/client_world";

beforeEach(() => {
  sessionStorage.clear();
  vi.useFakeTimers({ now: w.NOW });
});

afterEach(() => {
  vi.useRealTimers();
});

/** A room of so many messages, opened by David, who has not read it from one of them on. */
function opened(size: number, from: number, count: number): [w.World, Timeline] {
  const world = new w.World(size);
  const page = { ...world.roomPage(), first_unread: { message_id: from, count } };
  const timeline = new Timeline({ page, me: w.david, sounds: [], hooks: world, server: world });
  return [world, timeline];
}

const place = (timeline: Timeline) => firstNew(timeline.state())?.id;

describe("where I left off", () => {
  test.each([
    ["the first new one of the page", 60, 30, 30],
    ["the first of the page, when that is where I left off", 60, 21, 21],
    ["nowhere, when it is further up", 60, 20, undefined],
    ["at the top of all", 10, 1, 1],
  ])("the line is above %s", (_, size, from, line) => {
    const [, timeline] = opened(size, from, size - from + 1);

    expect(place(timeline)).toBe(line);
    expect(newAbove(timeline.state())).toBe(line === undefined ? size - from + 1 : 0);
    expect(timeline.state().folded).toBe(line === undefined ? timeline.state().folded : 0);
  });

  test("what is my own is not new", () => {
    const [world, timeline] = opened(50, 48, 3);
    timeline.receive({ type: "message_removed", client_message_id: "m48" });
    timeline.receive({
      type: "message_replaced",
      message: w.message(49, { creator: w.david, updated_at_ms: w.NOW + 1 }),
    });
    return timeline.settled().then(() => {
      expect(place(timeline)).toBe(50);
      expect(world.told).toEqual([]);
    });
  });

  test("the way up brings the page around it, and what is newer comes with the end", async () => {
    const [, timeline] = opened(200, 50, 151);
    expect(newAbove(timeline.state())).toBe(151);
    await timeline.jumpToNew();

    expect(place(timeline)).toBe(50);
    expect(newAbove(timeline.state())).toBe(0);
    expect(timeline.state()).toMatchObject({ up_to_date: false, busy: null });
    await timeline.jumpToNewest();
    expect(timeline.state().messages.at(-1)?.id).toBe(200);
  });

  test("what I send ends it, and nothing else does", async () => {
    const [, timeline] = opened(60, 50, 11);
    timeline.receive({ type: "messages_appended", messages: [w.message(61)] });
    await timeline.settled();
    expect(place(timeline)).toBe(50);
    await timeline.send("<div>here</div>");

    expect(place(timeline)).toBeUndefined();
    expect(timeline.state().left_off).toBeNull();
  });

  test("it is what others said after what I had seen, if that is long enough ago", async () => {
    const world = new w.World(20);
    const { timeline } = world;
    world.append(w.message(21, { creator: w.david }), w.message(22), w.message(23));
    await timeline.settled();

    expect(await timeline.mark(23)).toBe(0);
    expect(await timeline.mark(20, w.message(22).timestamp - 1)).toBe(0);
    expect(place(timeline)).toBeUndefined();
    expect(await timeline.mark(20, w.message(22).timestamp)).toBe(2);
    expect(place(timeline)).toBe(22);
  });
});

describe("what waits elsewhere", () => {
  const boot = (state: store.State) =>
    store.reduce(state, { type: "sidebar_loaded", sidebar: w.sidebar });
  const news = (state: store.State, room_id: number, more: object = {}) =>
    store.reduce(state, { type: "room_unread", room_id, at_ms: w.NOW, ...more });
  const [shared] = w.sidebar.shared;
  const [ping] = w.sidebar.directs;
  const room_id = shared?.id ?? 0;
  const ping_id = ping?.id ?? 0;

  test("a mention counts each time, a ping once, and what I have seen not at all", () => {
    let state = boot(store.START);
    state = news(news(state, room_id, { seen: true }), ping_id, { seen: true });
    expect([store.unreadCount(state), store.meantCount(state)]).toEqual([0, 0]);
    state = news(state, room_id);
    expect([store.unreadCount(state), store.meantCount(state)]).toEqual([1, 0]);
    state = news(news(state, room_id, { mention: true }), room_id, { mention: true });
    expect(store.meantCount(state)).toBe(2);
    state = news(news(state, ping_id), ping_id);
    expect([store.unreadCount(state), store.meantCount(state)]).toEqual([2, 3]);
    state = store.reduce(state, { type: "room_read", room_id });
    expect([store.unreadCount(state), store.meantCount(state)]).toEqual([1, 1]);
  });

  test("the room on screen is read while its window is seen", () => {
    const room = { ...shared, id: room_id } as store.State["room"];
    const state = { ...boot(store.START), room };
    expect(store.unreadCount(news(state, room_id))).toBe(0);
    expect(store.unreadCount(news(state, room_id, { away: true }))).toBe(1);
  });
});
