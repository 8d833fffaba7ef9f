import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Attachment, Message } from "../../static_bundle/src/lib/api";
import type { Going } from "../../static_bundle/src/lib/messages";
import { uploads } from "../../static_bundle/src/lib/outbox";
import { Observable } from "../../static_bundle/src/lib/store";
import { pastedFiles, replyQuote, sizeInWords } from "../../static_bundle/src/lib/text";
import * as w from "../support/client_world";

/** The browser's way to send something and to tell how much of it is there. */
class Line {
  static lines: Line[] = [];
  upload: { onprogress?: (event: { loaded: number; total: number }) => void } = {};
  onerror: () => void = () => undefined;
  onload: () => void = () => undefined;
  onloadend: () => void = () => undefined;
  status = 0;
  responseText = "";
  form = new FormData();
  retryAfter: string | null = null;
  stopped = false;

  open = () => undefined;
  setRequestHeader = () => undefined;
  getResponseHeader = () => this.retryAfter;

  send(form: FormData): void {
    this.form = form;
    Line.lines.push(this);
  }

  abort(): void {
    this.stopped = true;
    this.onloadend();
  }

  get id(): string {
    return String(this.form.get("client_message_id"));
  }

  answer(status: number, body: object): void {
    this.status = status;
    this.responseText = JSON.stringify(body);
    this.onload();
    this.onloadend();
  }
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const newest = () => Line.lines.at(-1) as Line;
const refusal = (code: string) => ({ error: { code, message: "In the server's words." } });

let files = 0;

function file(name: string, content = "words"): Observable<Going> {
  files += 1;
  const sent = new File([content], name, { type: "text/plain" });
  return new Observable({ id: `f${files}`, file: sent, part: null, thumbnail: null, box: null });
}

function stored(line: Line, id = 90): Message {
  const name = (line.form.get("attachment") as File).name;
  const attachment = { id, filename: name, kind: "file", byte_size: 5 } as Attachment;
  const words = { body_html: "", plain_text: name, attachment };
  const own = { id, client_message_id: line.id, creator: w.david, timestamp: w.NOW };
  return w.spoken({ ...own, ...words, content_type: "attachment" });
}

function leaving(): boolean {
  const event = new Event("beforeunload", { cancelable: true });
  dispatchEvent(event);
  return event.defaultPrevented;
}

async function sending(...names: string[]): Promise<w.World> {
  const world = new w.World(1);
  await world.timeline.sendFiles(names.map((name) => file(name)));
  await pass(0);
  return world;
}

beforeEach(() => {
  sessionStorage.clear();
  Line.lines = [];
  vi.stubGlobal("XMLHttpRequest", Line);
  vi.useFakeTimers({ now: w.NOW });
});

afterEach(() => {
  for (const { client_message_id } of uploads.of(5)) uploads.discard(client_message_id);
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe("files", () => {
  test("go one after another, each its own message, and become the stored ones in place", async () => {
    const world = await sending("a.txt", "b.txt");
    const [, first, second] = world.ids;
    expect(Line.lines.map(({ id }) => id)).toEqual([first]);
    expect([...newest().form.keys()]).toEqual(["client_message_id", "attachment"]);
    newest().upload.onprogress?.({ loaded: 62, total: 100 });
    expect(world.timeline.state().messages[1]?.going?.state().part).toBe(0.62);
    expect(world.last?.going?.state().part).toBeNull();

    newest().answer(201, { message: stored(newest()) });
    await pass(0);
    expect(Line.lines.map(({ id }) => id)).toEqual([first, second]);
    newest().answer(201, { message: stored(newest(), 91) });
    await pass(0);
    expect(world.ids).toEqual(["m1", first, second]);
    expect(world.timeline.state().messages.map(({ outgoing }) => outgoing)).toEqual([
      null,
      null,
      null,
    ]);
    expect(uploads.of(5)).toEqual([]);
  });

  test("do not hold up what is written", async () => {
    const world = await sending("a.txt");
    await world.timeline.send("words");
    await pass(0);

    expect(world.posts.map(({ body }) => body)).toEqual(["words"]);
  });

  test("start again after 1, 2, 4, 8 and 16 seconds under the same id, and then wait for me", async () => {
    const world = await sending("a.txt");
    for (const [tries, wait] of [1000, 2000, 4000, 8000, 16_000].entries()) {
      newest().onerror();
      await pass(wait - 1);
      expect(Line.lines).toHaveLength(tries + 1);
      await pass(1);
    }
    newest().onerror();
    await pass(60_000);

    expect(Line.lines).toHaveLength(6);
    expect(new Set(Line.lines.map(({ id }) => id)).size).toBe(1);
    expect(world.last?.outgoing).toMatchObject({
      state: "failed",
      reason: "The upload stopped. Check your connection.",
    });

    world.timeline.retry(world.ids[1] ?? "");
    await pass(0);
    expect(Line.lines).toHaveLength(7);
    expect(world.last?.outgoing).toMatchObject({ state: "pending", attempt: 0 });
  });

  test.each([
    [408, "upload_too_slow", 999, 1],
    [408, "upload_too_slow", 1000, 2],
    [503, "pictures_busy", 1000, 2],
    [429, "too_many_uploads", 4999, 1],
    [429, "too_many_uploads", 5000, 2],
  ])("refused by %i (%s) have after %i ms been tried %i times", async (status, code, ms, tries) => {
    await sending("a.txt");
    newest().retryAfter = status === 429 ? "5" : null;
    newest().answer(status, refusal(code));
    await pass(ms);

    expect(Line.lines).toHaveLength(tries);
  });

  test.each([
    [507, "storage_full", "This server has no room for more files. Tell an administrator."],
    [501, "feature_disabled", "In the server's words."],
    [413, "file_too_large", "a.txt is too large. Files can be up to 0 B."],
    [422, "file_blank", "a.txt is empty."],
  ])(
    "refused for good by %i (%s) say why, and let the next one go",
    async (status, code, words) => {
      const world = await sending("a.txt", "b.txt");
      newest().answer(status, refusal(code));
      await pass(0);

      expect(world.timeline.state().messages[1]?.outgoing).toMatchObject({
        state: "failed",
        reason: words,
      });
      expect(Line.lines.map(({ id }) => id)).toEqual(world.ids.slice(1));
    },
  );

  test("that are cancelled leave nothing, and the next one goes", async () => {
    const world = await sending("a.txt", "b.txt");
    const [first] = Line.lines;
    world.timeline.discard(first?.id ?? "");
    await pass(0);

    expect(first?.stopped).toBe(true);
    expect(world.ids).toEqual(["m1", newest().id]);
    expect(Line.lines).toHaveLength(2);
  });

  test("of which nothing is heard for a minute and a half begin again", async () => {
    await sending("a.txt");
    await pass(89_999);
    newest().upload.onprogress?.({ loaded: 1, total: 2 });
    await pass(89_999);
    expect(newest().stopped).toBe(false);
    await pass(1);
    expect(newest().stopped).toBe(true);
    await pass(1000);

    expect(Line.lines).toHaveLength(2);
  });

  test("wait without a network, however long, and go on when it is back", async () => {
    const world = await sending("a.txt");
    w.pretend(navigator, "onLine", () => false);
    newest().onerror();
    await pass(600_000);
    expect(world.last?.outgoing?.state).toBe("retrying");
    w.pretend(navigator, "onLine", () => true);
    world.timeline.retryNow();
    await pass(0);
    newest().answer(201, { message: stored(newest()) });
    await pass(0);

    expect(world.last?.outgoing).toBeNull();
    expect(Line.lines).toHaveLength(2);
  });

  test("go on in another room, and leaving the page is asked about until they are there", async () => {
    const world = await sending("a.txt");
    world.timeline.close();
    expect(leaving()).toBe(true);
    const back = new w.World(1);
    expect(back.ids).toEqual(["m1", newest().id]);
    newest().answer(201, { message: stored(newest()) });
    await pass(0);

    expect(back.last).toMatchObject({ id: 90, outgoing: null });
    expect(leaving()).toBe(false);
  });

  test("are one message when everybody hears of them before I do", async () => {
    const world = await sending("a.txt", "b.txt");
    const [first] = Line.lines;
    world.append(stored(first as Line));
    await pass(0);
    first?.answer(201, { message: stored(first as Line) });
    await pass(0);

    expect(world.ids).toEqual(["m1", first?.id, newest().id]);
    expect(world.arrivals).toEqual([first?.id]);
  });

  test("cannot be edited, and are quoted by their name", async () => {
    const world = await sending("<a>.txt");
    newest().answer(201, { message: stored(newest()) });
    await pass(0);

    expect(world.timeline.lastOwn()).toBeUndefined();
    expect(replyQuote(world.last as Message)).toContain(
      "<blockquote>📎 &lt;a&gt;.txt</blockquote>",
    );
  });
});

test.each([
  [0, "0 B"],
  [640, "640 B"],
  [999.6, "1.0 KB"],
  [2_400_000, "2.4 MB"],
  [9_949_999, "9.9 MB"],
  [9_950_000, "10 MB"],
  [38_000_000, "38 MB"],
  [5e12, "5000 GB"],
])("%i bytes are %s", (bytes, words) => {
  expect(sizeInWords(bytes)).toBe(words);
});

describe("a paste", () => {
  const picture = new File(["p"], "image.png", { type: "image/png" });
  const paper = new File(["p"], "a.pdf", { type: "application/pdf" });
  const names = (files: File[], types: string[], text = "") =>
    pastedFiles({ files, types } as unknown as DataTransfer, text).map(({ name }) => name);

  test("of a screenshot is a picture named after its time", () => {
    vi.useFakeTimers({ now: new Date(2026, 0, 2, 3, 4, 5) });

    expect(names([picture], ["Files"])).toEqual(["Screenshot 2026-01-02 at 03.04.05.png"]);
    expect(names([picture], ["Files", "text/html"])).toHaveLength(1);
  });

  test("of a text with its own picture is the text", () => {
    expect(names([picture], ["Files", "text/html", "text/plain"], "words")).toEqual([]);
  });

  test("of files is files, whatever stands beside them", () => {
    expect(names([paper], ["Files", "text/plain"], "a.pdf")).toEqual(["a.pdf"]);
    expect(names([paper, picture], ["Files", "text/html", "text/plain"], "a")).toHaveLength(2);
  });
});
