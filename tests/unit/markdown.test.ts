import { expect, test } from "vitest";
import { fenceIn, formatted, markedIn } from "../../static_bundle/src/lib/markdown";

/** What the last letter of a line makes of it: the format in brackets, or the line as it is. */
function typed(line: string, next?: string): string {
  const marked = markedIn(line, next);
  if (!marked) return line;
  const { attribute, open, width } = marked;
  return `${line.slice(0, open)}[${attribute} ${line.slice(open + width, -width)}]`;
}

test.each([
  ["**x**", "[bold x]"],
  ["so **this and that**", "so [bold this and that]"],
  ["*x*", "[italic x]"],
  ["_x_", "[italic x]"],
  ["(_x y_", "([italic x y]"],
  ["~x~", "[strike x]"],
  ["~~x~~", "[strike x]"],
  ["`x`", "[inlineCode x]"],
  ["```x```", "[inlineCode x]"],
  ["`C:\\`", "[inlineCode C:\\]"],
  ["`a * b`", "[inlineCode a * b]"],
  ["*\uFFFC*", "[italic \uFFFC]"],
  ["**ja 🎉**", "ja 🎉".replace(/^/, "[bold ").replace(/$/, "]")],
])("the closing letter makes a format of %s", (line, formatted) => {
  expect(typed(line)).toBe(formatted);
});

test.each([
  ["**x*", ""],
  ["snake_case_", ""],
  ["snake_case_name", ""],
  ["2*3*", "4"],
  ["2 * 3 *", " 4"],
  ["* x*", ""],
  ["*x *", ""],
  ["****", ""],
  ["**", ""],
  ["*_*", ""],
  ["*_* and ^_", "^"],
  ["\\*x*", ""],
  ["*x\\*", ""],
  ["\\`x`", ""],
  ["*a*", "b"],
  ["_a_", "b"],
  ["*a*", "*"],
  ["***x**", ""],
  ["__init__", ""],
  ["https://x.example/_a_", ""],
  ["www.x.example/~a~", ""],
  ["_ https://x.example/a_", ""],
  ["`*a*", ""],
  ["a`b`", ""],
  ["``x`", ""],
])("the last letter of %s changes nothing (before %j)", (line, next) => {
  expect(typed(line, next)).toBe(line);
});

test.each([
  ["```", {}, ""],
  ["```py", { class: "language-py" }, ""],
  ["```Python", { class: "language-python" }, ""],
  ["```x", {}, "x"],
  ["```x = 1", {}, "x = 1"],
])("%s begins code", (line, language, words) => {
  expect(fenceIn(line)).toEqual({ language, words });
});

test.each(["``", "````", "a ```", "```x```", ""])("%j begins no code", (line) => {
  expect(fenceIn(line)).toBeNull();
});

/** The blocks in one line each: what they are, and their words with their formats. */
function pasted(text: string): string[] | undefined {
  const blocks = formatted(text);
  return blocks?.map(({ attributes, htmlAttributes, text }) => {
    const words = text.map(({ string, attributes }) => {
      const names = Object.keys(attributes).join();
      return names ? `[${names} ${string}]` : string;
    });
    const { class: language = "" } = htmlAttributes ?? {};
    return `${attributes.join(" ")}${language && `.${language}`}: ${words.join("")}`;
  });
}

test.each([
  ["- a\n- b", ["bulletList bullet: a", "bulletList bullet: b"]],
  ["1. a\n2. b\n", ["numberList number: a", "numberList number: b"]],
  ["- a\n  - b", ["bulletList bullet: a", "bulletList bullet bulletList bullet: b"]],
  [
    "Two things:\n\n- **a** and `*b*`\n- c\n\nDone",
    [
      ": Two things:",
      "bulletList bullet: [bold a] and [inlineCode *b*]",
      "bulletList bullet: c",
      ": Done",
    ],
  ],
  ["```py\nx = 1\n\n*y*\n```", ["code.language-py: x = 1\n\n*y*", ": "]],
  ["```\nx = 1\n```\nso", ["code: x = 1", ": so"]],
  [
    "# Title\n> said\n> more\n- a",
    ["heading1: Title", "quote: said\nmore", "bulletList bullet: a"],
  ],
  ["a\n\nb\n- c", [": a\n\nb", "bulletList bullet: c"]],
  ["```\nnever closed", ["code: never closed", ": "]],
  ["- `*a` b*", ["bulletList bullet: [inlineCode *a] b*"]],
])("what is pasted as %j is what it means", (text, blocks) => {
  expect(pasted(text)).toEqual(blocks);
});

test.each(["just words", "**bold** words", "-5 degrees", "a - b", "# Title", "```x```"])(
  "%j is pasted as it is",
  (text) => {
    expect(formatted(text)).toBeNull();
  },
);
