import { readdirSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

/** What is fetched on demand, a chunk each. Everything else is the entry. */
const CHUNKS = [
  {
    name: "screens",
    test: /src[\\/](components[\\/]forms|screens[\\/](account|auth|people|rooms)|help|translations)/,
  },
  { name: "dialogs", test: /src[\\/](components[\\/]dialogs|keys|styles[\\/]lightbox)/ },
  { name: "purify", test: /node_modules[\\/]dompurify/ },
  { name: "trix", test: /node_modules[\\/]trix[\\/].*\.js$|src[\\/]lib[\\/]markdown/ },
  { name: "highlight", test: /node_modules[\\/]highlight\.js/ },
  // What a chunk shares with the entry would else be taken out of it.
  { name: "app", tags: ["$initial"], test: (id) => !id.includes("service-worker"), priority: -1 },
];

const PICTURES = new URL("src/pictures/", import.meta.url);
const ASSETS = new URL("node_modules/@phosphor-icons/core/assets/", import.meta.url);
/** Pages with holes, which the server fills. */
const PAGES = ["index.html", "initials.svg", "unsupported.html", "webmanifest.json"];
const DRAWINGS = JSON.parse(readFileSync(new URL("icons.json", PICTURES)));
/** Drawings that are on the sheet, and nowhere else. */
const ON_SHEET = ["lanyard.svg", "robot.svg"];

/** An SVG file as a symbol of the sheet. */
function symbol([name, from]) {
  const at = from.startsWith("own/")
    ? new URL(`icons/${from.slice(4)}.svg`, PICTURES)
    : new URL(`${from}.svg`, ASSETS);
  const [, attributes, shapes] = /<svg xmlns="[^"]*"(.*?)>(.*)<\/svg>/s.exec(
    readFileSync(at, "utf8"),
  );
  // Phosphor leaves a wide margin, which would make its drawings smaller than ours.
  const box = attributes.replace("0 0 256 256", "18 18 220 220");
  return `<symbol id="drawing-${name}" overflow="visible"${box}>${shapes}</symbol>`;
}

const INDEX = readFileSync(new URL("src/index.html", import.meta.url), "utf8");
/** What a selector may name, and still concern the page before the client is there. */
const NAMED = new Set([
  ...["*", "&", ":root", "[data-root]", "html"],
  ...INDEX.match(/(?<=<)[a-z]\w*/g),
  ...INDEX.match(/(?<=class=")[^"{]+/g).flatMap((names) =>
    names.split(/\s+/).map((it) => `.${it}`),
  ),
]);
const TOLD = /[*&]|::?[\w-]+|\.[\w-]+|\[[^\]]*\]|[a-z][\w-]*/g;
/** All layers, even empty, since the first time they are named decides their order. */
const AROUND = /^@(layer|media \((width|prefers-color-scheme|prefers-contrast))/;

/** What one does not see of a page that does nothing yet. */
const UNSEEN =
  /^(accent|cursor|interpolate|overscroll|pointer|resize|scrollbar|touch|transition)\b/;

/** A style sheet's statements: declarations, and blocks with what is inside. */
function* statements(css) {
  let [from, depth] = [0, 0];
  for (const { 0: mark, index: at } of css.matchAll(/[{};]|$/g)) {
    depth += { "{": 1, "}": -1 }[mark] ?? 0;
    if (depth > 0 || mark === "{") continue;
    const [head, ...inside] = css.slice(from, at).split("{");
    if (head) yield [head, mark === "}" ? inside.join("{") : undefined];
    from = at + 1;
  }
}

/** The rules by which the first paint looks as it will, without waiting for the whole sheet. */
function frame(css) {
  let kept = "";
  for (const [head, inside] of statements(css)) {
    const known = (selector) => selector.match(TOLD)?.every((it) => NAMED.has(it));
    const heads = AROUND.test(head) ? head : head.split(/,(?![^(]*\))/).filter(known);
    if (inside === undefined) kept += UNSEEN.test(head) ? "" : `${head};`;
    else if (head === "@keyframes frame-late") kept += `${head}{${inside}}`;
    else if (heads.length > 0) kept += `${heads}{${frame(inside)}}`;
  }
  return kept.replaceAll(";}", "}");
}

/** Without the variables that nothing in it asks for, and the rules that are empty then. */
function needed(css) {
  const less = css
    .replace(/(--[\w-]+):[^;{}]*;?/g, (all, name) => (css.includes(`var(${name}`) ? all : ""))
    .replace(/(?<=[;{}])(?!@layer)[^;{}]*\{\}/g, "")
    .replaceAll(";}", "}");
  return less === css ? css : needed(less);
}

/** Icons on one sheet, pictures of sounds below sounds/, the others and the pages as they lie. */
const pictures = {
  name: "pictures-and-pages",
  enforce: "post", // there is a style sheet by then
  generateBundle(_, { "app.css": sheet }) {
    const symbols = Object.entries(DRAWINGS).map(symbol).join("\n");
    const source = `<svg xmlns="http://www.w3.org/2000/svg" hidden="">\n${symbols}\n</svg>\n`;
    this.emitFile({ type: "asset", fileName: "icons.svg", source });
    const style = sheet && needed(frame(sheet.source));
    for (const fileName of PAGES) {
      const page = readFileSync(new URL(`src/${fileName}`, import.meta.url), "utf8");
      this.emitFile({ type: "asset", fileName, source: page.replace("FRAME", () => style) });
    }
    for (const path of [...readdirSync(PICTURES), "icons/globe.svg"]) {
      const name = basename(path);
      const isShown = /^(globe|logo|mark|robot|screenshot)(-\w+\.png|\.svg)$/.test(name);
      const isSound = name.endsWith(".svg") && !isShown && !ON_SHEET.includes(name);
      if (!isShown && !isSound) continue;
      const fileName = isShown ? name : `sounds/${name}`;
      this.emitFile({ type: "asset", fileName, source: readFileSync(new URL(path, PICTURES)) });
    }
  },
};

/** What wraps an import on demand; there is nothing to load before a chunk of ours. */
const plainImports = {
  name: "plain-imports",
  enforce: "pre",
  load: (id) =>
    id.endsWith("vite/preload-helper.js")
      ? "export const __vitePreload = (load) => load();"
      : undefined,
};

const CARRIED = "/*! @license DOMPurify";
const USED = "var purify = createDOMPurify();";

/** Trix's build carries a DOMPurify, older than ours: one is enough, and it is the newest. */
const oneSanitizer = {
  name: "one-sanitizer",
  enforce: "pre",
  transform(code, id) {
    if (!id.endsWith("trix.esm.js")) return undefined;
    const [from, to] = [code.indexOf(CARRIED), code.indexOf(USED)];
    if (from < 0 || to < from) this.error("Trix does not carry DOMPurify where it did.");
    const rest = code.slice(to + USED.length);
    // Trix configures it anew for every text, so each of the two has an instance of its own.
    const purify = "const purify = DOMPurify(window);";
    return `import DOMPurify from "dompurify";\n${code.slice(0, from)}${purify}${rest}`;
  },
};

const packageOf = (name) => new URL(`node_modules/${name}`, import.meta.url).pathname;

export default defineConfig({
  // The server puts the whole build below one digest, so that chunks find each other there.
  base: "./",
  plugins: [plainImports, oneSanitizer, react(), pictures],
  publicDir: false,
  build: {
    outDir: "dist-plain",
    emptyOutDir: true,
    target: ["chrome120", "firefox125", "safari17.2"],
    cssCodeSplit: false,
    modulePreload: false,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
    rolldownOptions: {
      input: { app: "src/main.tsx", service_worker: "src/service-worker.ts" },
      output: {
        entryFileNames: "[name].js",
        chunkFileNames: "[name].js",
        assetFileNames: ({ names }) => (names[0]?.endsWith(".css") ? "app.css" : "[name][extname]"),
        codeSplitting: { groups: CHUNKS, includeDependenciesRecursively: false },
      },
    },
  },
  test: {
    environment: "jsdom",
    include: ["../tests/unit/*.test.ts"],
    environmentOptions: { jsdom: { url: "http://campfire.test/rooms/1" } },
  },
  resolve: {
    // The tests lie outside this folder, where its packages cannot be found by themselves.
    alias: [
      ...["vitest", "@rails/actioncable"].map((name) => ({
        find: name,
        replacement: packageOf(name),
      })),
      { find: /^trix$/, replacement: packageOf("trix/dist/trix.esm.js") },
    ],
  },
  server: { fs: { allow: [".."] } },
});
