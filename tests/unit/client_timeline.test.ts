import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Message } from "../../static_bundle/src/lib/api";
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

describe("what I send", () => {
  test("is there at once, threaded by the server's clock, and becomes the stored one in place", async () => {
    const world = new w.World(3);
    let answer: (value: { message: Message }) => void = () => undefined;
    world.answers = [
      () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    ];
    await world.timeline.send("<div>Hi 👍</div>");
    const id = world.last?.client_message_id ?? "";
    expect(world.last).toMatchObject({
      id: 0,
      creator: { name: "David" },
      outgoing: { state: "pending" },
    });
    answer({ message: world.store(id, "<div>Hi 👍</div>") });
    await pass(0);
    expect(world.last).toMatchObject({
      id: 4,
      client_message_id: id,
      outgoing: null,
      can_edit: true,
    });
    expect(world.ids).toHaveLength(4);
  });

  test.each(w.permutations(["answer", "broadcast"]))(
    "ends as one message when %s comes before %s, however often it is told",
    async (...order) => {
      const world = new w.World(2);
      let answer: (value: { message: Message }) => void = () => undefined;
      world.answers = [
        () =>
          new Promise((resolve) => {
            answer = resolve;
          }),
      ];
      await world.timeline.send("<div>once</div>");
      const stored = world.store(world.posts[0]?.id ?? "", "<div>once</div>");

      for (const news of [...order, ...order]) {
        if (news === "answer") answer({ message: stored });
        else world.append(stored);
        await pass(0);
      }
      expect(world.ids).toEqual(["m1", "m2", stored.client_message_id]);
      expect(world.last?.outgoing).toBeNull();
      expect(world.arrivals).toEqual([stored.client_message_id]);
    },
  );

  test("is retried after 1, 2, 4, 8 and 16 s, and confirmed under the same id", async () => {
    const world = await w.sent(
      w.away,
      w.refuse(500, "x"),
      w.refuse(408, "x"),
      w.refuse(425, "x"),
      w.refuse(503, "x"),
    );
    expect(world.last?.outgoing).toEqual({ state: "retrying", attempt: 1, reason: null });
    expect(world.told).toEqual(["polite: Not sent yet, trying again"]);
    await pass(31_000);
    expect(world.posts.map(({ at }) => at)).toEqual([0, 1000, 3000, 7000, 15_000, 31_000]);
    expect(new Set(world.posts.map(({ id }) => id)).size).toBe(1);
    expect(world.last).toMatchObject({ id: 2, outgoing: null });
    expect(world.told).toHaveLength(1);
  });

  test("has failed after the fifth retry; trying again starts over with the same id", async () => {
    const world = await w.sent(...Array.from({ length: 6 }, () => w.away));
    await pass(30_999);
    expect(world.last?.outgoing?.state).toBe("retrying");
    await pass(1);

    expect(world.last?.outgoing).toEqual({ state: "failed", attempt: 5, reason: null });
    expect(world.told.at(-1)).toBe("assertive: Your message was not sent");
    const id = world.ids.at(-1) ?? "";
    world.timeline.retry(id);
    expect(world.posts.at(-1)?.id).toBe(id);
    await pass(0);
    expect(world.last).toMatchObject({ id: 2, client_message_id: id, outgoing: null });
  });

  test("has failed with the server's reason when that is out of order", async () => {
    const full = "The server's disk is full.";
    const world = await w.sent(...Array.from({ length: 6 }, () => w.refuse(503, full)));
    await pass(31_000);

    expect(world.last?.outgoing).toEqual({ state: "failed", attempt: 5, reason: full });
  });

  test("waits longer when the server asks for it, but never less", async () => {
    const world = await w.sent(w.refuse(429, "slow down", 5000), w.refuse(429, "slow down", 500));
    await pass(20_000);

    expect(world.posts.map(({ at }) => at)).toEqual([0, 5000, 7000]);
  });

  test("fails at once, with the reason, when its content was refused", async () => {
    const world = await w.sent(w.refuse(422, "That is too long."));
    await pass(60_000);

    expect(world.posts).toHaveLength(1);
    expect(world.last?.outgoing).toMatchObject({ state: "failed", reason: "That is too long." });
    expect(world.refusals).toBe(0);
  });

  test.each([403, 404])("is not retried where I may not write (%i)", async (status) => {
    const world = await w.sent(w.refuse(status, "Gone."));
    await pass(60_000);

    expect(world.posts).toHaveLength(1);
    expect(world.refusals).toBe(1);
  });

  test("is confirmed by the broadcast while it waits to be retried", async () => {
    const world = await w.sent(w.away);
    world.append(world.store(world.posts[0]?.id ?? "", "a"));
    await pass(60_000);

    expect(world.posts).toHaveLength(1);
    expect(world.last).toMatchObject({ id: 2, outgoing: null });
  });

  test("is retried at once on reconnection, and the count goes on", async () => {
    const world = await w.sent(w.away, w.away, w.away);
    await pass(1000);
    world.timeline.retryNow();
    await pass(0);

    expect(world.posts).toHaveLength(3);
    expect(world.last?.outgoing).toMatchObject({ state: "retrying", attempt: 3 });
  });

  test("keeps its order behind a slow one, for ten seconds", async () => {
    const world = new w.World(0);
    world.answers = [forever];
    await world.timeline.send("first");
    await world.timeline.send("second");
    await pass(9999);
    expect(world.posts.map(({ body }) => body)).toEqual(["first"]);
    await pass(1);

    expect(world.posts.map(({ body }) => body)).toEqual(["first", "second"]);
  });

  test("stands where a fresh page would show it, when the one before was slower after all", async () => {
    const world = new w.World(0);
    world.answers = [w.away, w.away, w.away, w.away];
    await world.timeline.send("slow");
    await world.timeline.send("fast");
    await pass(20_000);

    const fresh = world.all.map((m) => m.client_message_id);
    expect(world.all.map((m) => m.body_html)).toEqual(["fast", "slow"]);
    expect(world.ids).toEqual(fresh);
  });

  test("is discarded for good", async () => {
    const world = await w.sent(w.refuse(422, "No."));
    world.timeline.discard(world.ids[1] ?? "");
    await pass(0);
    expect(world.ids).toEqual(["m1"]);
  });

  test("is confirmed by a page that holds it, when its answer was lost", async () => {
    const world = new w.World(2);
    world.answers = [w.away, forever];
    await world.timeline.send("mine");
    const id = world.posts[0]?.id ?? "";
    world.store(id, "mine");
    world.timeline.catchUp();
    await world.caughtUpTo(3, true);
    await pass(0);

    expect(world.ids).toEqual(["m1", "m2", id]);
    expect(world.last?.outgoing).toBeNull();
    await pass(60_000);
    expect(world.posts).toHaveLength(1);
  });

  test("plays a sound by its lower-case name", async () => {
    const world = new w.World(0);
    world.answers = [forever];
    await world.timeline.send("<div>/Play BELL</div>");

    expect(world.last?.body_html).toBe("Playing bell…");
    expect(world.posts[0]?.body).toBe("/play bell");
  });
});

describe("an edit, a deletion and boosts", () => {
  test.each(w.permutations(["append", "edit", "words", "remove"] as const))(
    "leave nothing of a removed message: %s, %s, %s, %s",
    async (...order) => {
      const world = new w.World(3);
      for (const name of order) w.news[name](world);
      await world.timeline.settled();

      expect(world.ids).toEqual(["m1", "m2"]);
    },
  );

  test.each(w.permutations(["append", "edit", "words"] as const))(
    "leave the newest words: %s, %s, %s",
    async (...order) => {
      const world = new w.World(3);
      for (const name of order) w.news[name](world);
      await world.timeline.settled();

      expect(world.ids).toEqual(["m1", "m2", "m3"]);
      expect(world.last?.body_html).toBe("edited");
    },
  );

  test("come once, however often they are told, and leave unknown targets alone", async () => {
    const world = new w.World(3);
    const boost = w.boost(7, 3, "👏");
    const added = { type: "boost_added", client_message_id: "m3", boost } as const;
    for (let times = 0; times < 2; times += 1) world.timeline.receive(added);
    world.timeline.receive({ ...added, client_message_id: "unknown" });
    await world.timeline.settled();
    expect(world.last?.boosts.map(({ id }) => id)).toEqual([7]);
    world.timeline.receive({ type: "boost_removed", boost_id: 7 });
    await world.timeline.settled();

    expect(world.last?.boosts).toEqual([]);
  });

  test("of mine show at once and are taken back when refused", async () => {
    const world = new w.World(1);
    const [first] = world.timeline.state().messages;
    if (!first) throw new Error("The room is empty.");
    world.update = w.refuse(403, "You may not.");
    world.remove = w.refuse(403, "You may not.");
    world.boost = w.refuse(500, "Something went wrong.");
    const edit = world.timeline.edit(first, "<div>new</div>");
    const boosting = world.timeline.boost(first, " 🔥 ");
    await world.timeline.settled();
    expect(world.last).toMatchObject({ body_html: "<div>new</div>", boosts: [{ content: "🔥" }] });

    await expect(edit).rejects.toThrow("You may not.");
    await boosting;
    await world.timeline.remove(first);
    expect(world.timeline.state().messages).toEqual([first]);
    expect(world.told).toHaveLength(3);
  });

  test.each([["answer first"], ["broadcast first"]])(
    "a boost of mine is one boost: %s",
    async (how) => {
      const world = new w.World(1);
      const [first] = world.timeline.state().messages;
      const real = w.boost(90, 1, "👏");
      const told = { type: "boost_added", client_message_id: "m1", boost: real } as const;
      if (how === "broadcast first") {
        world.boost = async () => {
          world.timeline.receive(told);
          return { boost: real };
        };
      }
      if (first) await world.timeline.boost(first, "👏");
      world.timeline.receive(told);
      await world.timeline.settled();

      expect(world.last?.boosts).toEqual([real]);
    },
  );
});

describe("pages", () => {
  test("come from above until there are none, and 300 stay", async () => {
    const world = new w.World(500);
    for (let times = 0; times < 7; times += 1) await world.timeline.loadBefore();
    expect(world.ids).toHaveLength(320);
    expect(world.timeline.state().up_to_date).toBe(true);
    await world.timeline.loadBefore();
    expect(world.ids).toEqual(w.range(141, 440).map((m) => m.client_message_id));
    expect(world.timeline.state().up_to_date).toBe(false);
    for (let times = 0; times < 5; times += 1) await world.timeline.loadBefore();
    expect(world.ids[0]).toBe("m1");
    expect(world.timeline.state().at_top).toBe(true);
  });

  test("come from below after a permalink, up to the newest", async () => {
    const world = new w.World(200, { messages: w.range(60, 140), highlighted_id: 100 });
    const { messages } = world.timeline.state();
    expect(messages.filter((m) => m.highlighted)).toMatchObject([{ id: 100 }]);
    await world.timeline.loadAfter();
    expect(world.timeline.state().up_to_date).toBe(false);
    await world.timeline.loadAfter();
    expect(world.ids).toEqual(w.range(60, 200).map((m) => m.client_message_id));
    expect(world.timeline.state().up_to_date).toBe(true);
  });

  test("are asked for by the first message once it was out of sight, one request at a time", async () => {
    const world = new w.World(100);
    const asked: number[] = [];
    const { before } = world;
    world.before = (id) => {
      asked.push(id);
      return before(id);
    };
    world.timeline.firstSeen(true);
    expect(asked).toEqual([]);
    world.timeline.firstSeen(false);
    world.timeline.firstSeen(true);
    world.timeline.firstSeen(true);
    expect(world.timeline.state().busy).toBe("before");
    await pass(0);

    expect(asked).toEqual([61]);
    expect(world.timeline.state().busy).toBeNull();
    world.timeline.firstSeen(true);
    expect(asked).toEqual([61]);
  });

  test("that do not come may be asked for again", async () => {
    const world = new w.World(100);
    const { before } = world;
    world.before = w.away;
    await world.timeline.loadBefore();
    world.before = before;
    await world.timeline.loadBefore();
    expect(world.ids).toHaveLength(80);
  });

  test("older than the news that came meanwhile take it over", async () => {
    const world = new w.World(100, { messages: w.range(1, 40) });
    const page = w.range(41, 80);
    world.after = async () => {
      await world.timeline.settled();
      world.timeline.receive({ type: "message_removed", client_message_id: "m50" });
      const body_html = "edited";
      world.timeline.receive({ type: "message_replaced", message: w.message(60, { body_html }) });
      world.append(w.message(81));
      return { messages: page, has_before: true, has_after: false, highlighted_id: null };
    };
    await world.timeline.loadAfter();

    expect(world.ids).not.toContain("m50");
    expect(world.timeline.state().messages.find(({ id }) => id === 60)?.body_html).toBe("edited");
    expect(world.last?.id).toBe(81);
  });
});

describe("a live message", () => {
  test("goes where its id belongs, before what is not stored yet, several at once", async () => {
    const world = new w.World(3);
    world.answers = [forever];
    await world.timeline.send("mine");
    const shown = vi.fn();
    world.timeline.subscribe(shown);
    world.append(w.message(9), w.message(8, { sort_value: w.NOW * 2, timestamp: w.NOW * 2 }));
    world.append(w.message(7, { client_message_id: "late" }));
    await pass(0);
    expect(shown).toHaveBeenCalledTimes(1);
    expect(world.ids.slice(0, -1)).toEqual(["m1", "m2", "m3", "late", "m8", "m9"]);
    expect(world.last?.outgoing?.state).toBe("pending");
  });

  test("outside the pages on screen only says that there is one; going there loads it", async () => {
    const world = new w.World(400, { messages: w.range(1, 320) });
    world.all.push(w.message(401, { timestamp: w.NOW + 1 }));
    world.append(w.message(401, { timestamp: w.NOW + 1 }));
    await pass(0);
    expect(world.ids).toHaveLength(320);
    expect(world.timeline.state().jump).toBe(true);
    await world.timeline.jumpToNewest();
    expect(world.last?.id).toBe(401);
    expect(world.timeline.state()).toMatchObject({ jump: false, up_to_date: true });
  });

  test("cuts a long list first, and what I send comes after the newest page", async () => {
    const world = new w.World(400, { messages: w.range(81, 400) });
    world.timeline.subscribe(() => expect([300, 301]).toContain(world.ids.length));
    world.append(w.message(401));
    await pass(0);
    expect(world.ids).toHaveLength(301);
    expect(world.timeline.state().at_top).toBe(false);
    const writing = new w.World(400, { messages: w.range(81, 400) });
    writing.timeline.lastSeen(true);
    await writing.timeline.settled();
    expect(writing.ids).toHaveLength(300);
    for (const word of Array(20).keys()) await writing.timeline.send(`${word}`);
    expect(writing.ids).toHaveLength(300);
    const reading = new w.World(200, { messages: w.range(1, 81) });
    await reading.timeline.send("mine");
    await pass(0);
    expect(reading.ids.slice(0, -1)).toEqual(w.range(162, 200).map((m) => m.client_message_id));
  });
});

describe("catching up", () => {
  test("asks from the newest id and server time known, and tells once how many came", async () => {
    const world = new w.World(50);
    expect(world.timeline.catchUp()).toEqual({ last_seen_message_id: 50, since: w.NOW });
    world.append(w.message(51), w.message(52));
    world.timeline.receive({
      type: "message_replaced",
      message: w.message(50, { updated_at_ms: w.NOW + 7 }),
    });
    await pass(0);
    await world.caughtUpTo(60);

    expect(world.told).toEqual(["2 new"]);
    expect(world.arrivals).toEqual([]);
    expect(world.timeline.state().messages.every((m) => !m.live)).toBe(true);
    expect(world.timeline.catchUp()).toEqual({ last_seen_message_id: 60, since: w.NOW + 9 });
    await world.caughtUpTo(60);
    world.append(w.message(61));
    await pass(0);
    expect(world.arrivals).toEqual(["m61"]);
    expect(world.last?.live).toBe(true);
  });

  test("on too much loads the newest page anew, and keeps what I have not sent", async () => {
    const world = new w.World(40);
    world.answers = [forever];
    await world.timeline.send("mine");
    world.all.push(...w.range(41, 400));
    world.timeline.catchUp();
    await world.caughtUpTo(400, true);
    await pass(0);

    expect(world.ids.slice(0, -1)).toEqual(w.range(361, 400).map((m) => m.client_message_id));
    expect(world.last?.outgoing?.state).toBe("pending");
  });
});

describe("the list", () => {
  function looking(size: number, page: Parameters<w.World["roomPage"]>[0] = {}) {
    const world = new w.World(size, page);
    const view = new w.FakeView(world);
    world.timeline.attach(view);
    return { world, view };
  }

  test("opens at its end, or with the message that was asked for in the middle", () => {
    expect(looking(100).view.top).toBe(40 * 50 - 500);
    expect(looking(200, { messages: w.range(60, 140), highlighted_id: 100 }).view.top).toBe(1775);
  });

  test.each([
    [100, true],
    [101, false],
  ])("%i px from its end follows a live message: %s", async (distance, follows) => {
    const { world, view } = looking(100);
    view.top -= distance;
    const before = view.top;
    world.append(w.message(101));
    await pass(0);

    expect(view.top).toBe(follows ? 41 * 50 - 500 : before);
    expect(world.timeline.state().jump).toBe(!follows);
    world.timeline.lastSeen(true);
    expect(world.timeline.state().jump).toBe(false);
  });

  test("keeps the picture still when a page comes in above it or the top is cut", async () => {
    const { world, view } = looking(400);
    view.top = 75;
    await world.timeline.loadBefore();
    expect(view.top).toBe(75 + 40 * 50);

    const long = looking(400, { messages: w.range(81, 400) });
    long.view.top = 320 * 50 - 500 - 200;
    const shown = long.view.offsetOf("m390");
    long.world.append(w.message(401));
    await pass(0);
    expect(long.view.offsetOf("m390")).toBe(shown);
  });

  test("goes to its end for what I send, wherever I was", async () => {
    const { world, view } = looking(100);
    view.top = 0;
    await world.timeline.send("mine");

    expect(view.top).toBe(41 * 50 - 500);
  });
});
