import { describe, expect, test } from "vitest";
import type { Preview } from "../../static_bundle/src/lib/api";
import { cardOf } from "../../static_bundle/src/lib/cable";
import {
  cardAttributes,
  editable,
  editorToPresentation,
  LONE_URL,
  replyQuote,
  safeHtml,
} from "../../static_bundle/src/lib/text";
import { spoken as message } from "../support/client_world";

const PAGE: Preview = {
  url: "https://www.site.example/a?b=1&c=2",
  title: "A <b>harbour</b>",
  description: 'At "dawn"',
  image: "/previews/k",
  image_width: 640,
  image_height: 360,
  portrait: false,
};
const LINK = '<a href="https://www.site.example/a?b=1&amp;c=2">here</a>';

function figure(page: Preview): string {
  const holder = document.createElement("figure");
  holder.dataset.trixAttachment = JSON.stringify(cardAttributes(cardOf(page)));
  return holder.outerHTML;
}

/** As the server presents it. */
function shown(page: Preview): string {
  const type = "application/vnd.actiontext.opengraph-embed";
  return `<action-text-attachment content-type="${type}"><figure class="attachment attachment--content attachment--og">${cardOf(page).outerHTML}</figure></action-text-attachment>`;
}

describe("a card", () => {
  test("shows what a page says of itself, as text", () => {
    const card = cardOf(PAGE);

    expect(card.querySelector(".og-embed__host")?.textContent).toBe("site.example");
    expect(card.querySelector("a")?.getAttribute("href")).toBe(PAGE.url);
    expect(card.querySelector("a")?.textContent).toBe(PAGE.title);
    expect(card.querySelector("a > *")).toBeNull();
    expect(card.querySelector("img")?.getAttribute("src")).toBe("/previews/k");
    expect(card.querySelector("img")?.getAttribute("width")).toBe("640");
  });

  test("has no place for what a page does not say", () => {
    const card = cardOf({ ...PAGE, description: null, image: null, portrait: true });

    expect(card.className).toBe("og-embed gap cf-twitter-avatar");
    expect(card.querySelector(".og-embed__description, .og-embed__image")).toBeNull();
    expect(Object.keys(cardAttributes(card)).sort()).toEqual([
      "content",
      "contentType",
      "filename",
      "href",
    ]);
  });

  test("is no place to break out of", () => {
    const url = 'https://a.example/"onfocus="alert(1)"autofocus="';
    const holder = document.createElement("div");
    holder.innerHTML = cardOf({ ...PAGE, url, title: "<img src=x onerror=alert(1)>" }).outerHTML;

    expect(holder.querySelector("a")?.getAttributeNames().sort()).toEqual([
      "href",
      "rel",
      "target",
    ]);
    expect(holder.querySelectorAll("img")).toHaveLength(1);
  });

  test("keeps for the editor what the server is to read", () => {
    expect(cardAttributes(cardOf(PAGE))).toMatchObject({
      contentType: "application/vnd.actiontext.opengraph-embed",
      href: PAGE.url,
      url: PAGE.image,
      filename: PAGE.title,
      caption: PAGE.description,
    });
    const again = editable(message({ body_html: `<div>Look ${shown(PAGE)}</div>` }));
    const holder = document.createElement("div");
    holder.innerHTML = again;
    const kept = holder.querySelector<HTMLElement>("figure")?.dataset.trixAttachment ?? "";
    expect(JSON.parse(kept)).toEqual(cardAttributes(cardOf(PAGE)));
  });

  test("passes the second wall as it is, but for pictures of others", () => {
    const foreign = shown({ ...PAGE, image: "https://tracker.example/a.png" });

    expect(safeHtml(shown(PAGE))).toContain('src="/previews/k"');
    expect(safeHtml(shown(PAGE))).toContain('loading="lazy"');
    expect(safeHtml(foreign)).not.toContain("tracker");
  });
});

describe("a message on its way", () => {
  test("is its card alone where it says nothing but the address", () => {
    const alone = `<div><a href="${PAGE.url}">${PAGE.url.replace("&", "&amp;")}</a>${figure(PAGE)}</div>`;

    expect(editorToPresentation(alone)).toBe(cardOf(PAGE).outerHTML);
    expect(editorToPresentation(`<div>Look ${LINK}${figure(PAGE)}</div>`)).toContain("Look");
    expect(editorToPresentation(alone + figure(PAGE))).toContain(`>${PAGE.url.split("&")[0]}`);
  });
});

describe("a reply", () => {
  const quoted = (body_html: string) =>
    replyQuote(message({ body_html })).split("</blockquote>")[0];

  test("quotes the words and no card", () => {
    expect(quoted(`<div>Look ${shown(PAGE)}</div>`)).toBe("<blockquote><div>Look </div>");
  });

  test("quotes the address where there are no words", () => {
    const holder = document.createElement("div");
    holder.innerHTML = quoted(shown(PAGE)) ?? "";

    expect(holder.textContent).toBe(PAGE.url);
    expect(holder.querySelector("a")?.getAttribute("href")).toBe(PAGE.url);
  });
});

test("an address without a scheme is one too", () => {
  expect(LONE_URL.test("www.site.example/a")).toBe(true);
  expect(LONE_URL.test("www. site")).toBe(false);
  expect(LONE_URL.test("site.example")).toBe(false);
});
