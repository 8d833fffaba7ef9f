import { afterEach, beforeEach, expect, test, vi } from "vitest";
import * as w from "../support/client_world";

const YEAR = 365 * 86_400_000;

beforeEach(() => {
  sessionStorage.clear();
  vi.useFakeTimers({ now: w.NOW });
});

afterEach(() => {
  vi.useRealTimers();
});

test("times to come of a clock that was wrong are not asked for, and pull no later message", async () => {
  const world = new w.World(3);
  const later = { timestamp: w.NOW + YEAR, sort_value: w.NOW + YEAR, updated_at_ms: w.NOW + YEAR };
  world.append(w.message(4, later));
  world.append(w.message(5));
  await vi.advanceTimersByTimeAsync(0);
  expect(world.ids).toEqual(["m1", "m2", "m3", "m4", "m5"]);
  expect(world.timeline.catchUp()).toEqual({ last_seen_message_id: 5, since: w.NOW });
});

test("after a reset the server's time is the one it tells, even when it is earlier", async () => {
  const world = new w.World(3);
  const told = { last_seen_message_id: 3, server_time_ms: w.NOW + YEAR, reset: false };
  world.timeline.catchUp();
  await world.timeline.caughtUp(told);
  expect(world.timeline.catchUp().since).toBe(w.NOW + YEAR);
  await world.timeline.caughtUp({ ...told, server_time_ms: w.NOW + 5_000, reset: true });
  expect(world.timeline.catchUp().since).toBe(w.NOW + 5_000);
});
