import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Message } from "../../static_bundle/src/lib/api";
import { Outbox } from "../../static_bundle/src/lib/outbox";
import * as w from "../support/client_world";

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const forever = () => new Promise<never>(() => undefined);

beforeEach(() => {
  sessionStorage.clear();
  vi.useFakeTimers({ now: w.NOW });
});

afterEach(() => {
  vi.useRealTimers();
});

/** The page as it is after a reload: only what the tab and the server have kept. */
function reloaded(old: w.World, ...answers: w.World["answers"]): w.World {
  const world = new w.World(0, { messages: old.all.slice(-40) });
  world.all = old.all;
  world.answers = answers;
  world.timeline.retryNow();
  return world;
}

test("a draft is kept for a week, behind what could not be sent", async () => {
  const world = new w.World(1);
  const { outbox } = world.timeline;
  world.answers = [w.refuse(401, "Sign in.")];
  outbox.keepDraft("<div>draft</div>");
  await world.timeline.send("<div>unsent</div>");
  await pass(0);
  expect(outbox.draft()).toBe("<div>unsent</div><div>draft</div>");
  expect(outbox.draft()).toBe("<div>unsent</div><div>draft</div>");
  const elsewhere = { room_id: 6, by: 1, server: world, hooks: world, now: Date.now };
  const other = new Outbox({ ...elsewhere, confirmed: vi.fn(), changed: vi.fn() });
  expect(other.draft()).toBe("");
  vi.advanceTimersByTime(7 * 24 * 60 * 60 * 1000);

  expect(outbox.draft()).toBe("");
});

describe("what I write", () => {
  test("is kept and posted before a page that never comes, and has no place in the middle", async () => {
    const world = new w.World(200, { messages: w.range(1, 81) });
    world.latest = forever;
    world.answers = [w.away];
    void world.timeline.send("<div>mine</div>");
    await pass(0);

    expect(world.posts.map(({ body }) => body)).toEqual(["<div>mine</div>"]);
    expect(world.ids).toEqual(w.range(1, 81).map((m) => m.client_message_id));
    const again = reloaded(world);
    expect(again.last).toMatchObject({ body_html: "<div>mine</div>", id: 0 });
    await pass(0);
    expect(again.posts.map(({ id }) => id)).toEqual(world.posts.map(({ id }) => id));
    expect(again.last).toMatchObject({ id: 201, outgoing: null });
  });

  test("is offered to be jumped to where the newest page failed, and comes with it", async () => {
    const world = new w.World(200, { messages: w.range(1, 81) });
    const { latest } = world;
    world.latest = w.away;
    world.answers = [w.refuse(422, "No.")];
    await world.timeline.send("mine");
    await pass(0);
    expect(world.timeline.state()).toMatchObject({ jump: true, up_to_date: false });
    expect(world.ids).toHaveLength(81);
    world.latest = latest;
    await world.timeline.jumpToNewest();

    expect(world.last).toMatchObject({ body_html: "mine", outgoing: { state: "failed" } });
  });

  test("is pointed to when only catching up tells that it arrived after all", async () => {
    const world = new w.World(200, { messages: w.range(1, 81) });
    world.answers = [forever];
    world.latest = w.away;
    await world.timeline.send("mine");
    const again = new w.World(0, { messages: w.range(1, 81), has_after: true });
    again.timeline.catchUp();
    again.append(world.store(world.posts[0]?.id ?? "", "mine"));
    await again.caughtUpTo(201);

    expect(again.timeline.state()).toMatchObject({ jump: true, up_to_date: false });
    expect(reloaded(again).posts).toEqual([]);
  });

  test("is one message when the page is loaded anew in the middle of its post", async () => {
    const world = new w.World(2);
    world.answers = [forever];
    await world.timeline.send("once");
    const id = world.posts[0]?.id ?? "";
    world.store(id, "once");
    const again = reloaded(world);
    await pass(60_000);

    expect(again.ids).toEqual(["m1", "m2", id]);
    expect(again.posts).toEqual([]);
    expect(reloaded(again).ids).toEqual(["m1", "m2", id]);
  });

  test("goes on after I left the room, and what failed meanwhile waits until I am back", async () => {
    const world = new w.World(1);
    let answer: (value: { message: Message }) => void = () => undefined;
    world.answers = [() => new Promise((resolve) => (answer = resolve)), w.away];
    await world.timeline.send("a");
    await world.timeline.send("b");
    world.timeline.close();
    answer({ message: world.store(world.posts[0]?.id ?? "", "a") });
    await pass(60_000);
    expect(world.posts.map(({ body }) => body)).toEqual(["a", "b"]);

    const back = reloaded(world);
    await pass(0);
    expect(back.posts.map(({ body }) => body)).toEqual(["b"]);
    expect(world.all.map((m) => m.body_html).slice(1)).toEqual(["a", "b"]);
  });

  test("long ago waits for me to decide, and is dropped after a week", async () => {
    const world = await w.sent(w.away);
    world.timeline.close();
    await pass(5 * 60_000);
    const later = reloaded(world);
    await pass(60_000);
    expect(later.posts).toEqual([]);
    expect(later.last?.outgoing?.state).toBe("failed");
    later.timeline.retry(later.ids.at(-1) ?? "");
    await pass(0);
    expect(later.posts.map(({ id }) => id)).toEqual(world.posts.map(({ id }) => id));

    const other = await w.sent(w.away);
    other.timeline.close();
    await pass(7 * 24 * 60 * 60_000);
    expect(reloaded(other).ids).toEqual(["m1"]);
  });

  test("is never sent in another person's name, and becomes a draft of whoever signs in", async () => {
    const world = await w.sent(w.away);
    world.timeline.close();
    const kept = { ...sessionStorage };
    for (const [key, value] of Object.entries(kept))
      sessionStorage.setItem(key, String(value).replace('"by":1', '"by":2'));
    expect(reloaded(world).ids).toEqual(["m1"]);

    const refused = await w.sent(w.refuse(401, "Sign in."));
    expect(reloaded(refused).ids).toEqual(["m1"]);
    expect(refused.timeline.outbox.draft()).toBe("a");
  });

  test("is gone from the tab once it was discarded, and given back to be written anew", async () => {
    const world = await w.sent(w.refuse(422, "That is too long."));

    expect(world.timeline.discard(world.ids[1] ?? "")).toBe("a");
    await pass(0);
    expect(reloaded(world).ids).toEqual(["m1"]);
  });
});
