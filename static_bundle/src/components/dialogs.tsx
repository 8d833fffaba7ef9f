/**
 * What covers the page until it is left: QR codes, pictures, videos, and the list of all keys. It is
 * fetched when the first is opened, and brings its styles along.
 */
import { type KeyboardEvent, type ReactNode, useEffect, useState } from "react";
import { flushSync } from "react-dom";
import keys from "../keys.json";
import type { Attachment } from "../lib/api";
import * as device from "../lib/browser";
import { apply, fetched, type Viewed } from "../lib/store";
import { insisted } from "../lib/trouble";
import styles from "../styles/lightbox.css?inline";
import { canShareFile, shareFile } from "./files";
import { Button, COMMAND, Dialog, LinkButton, moveIn } from "./ui";

const sheet = new CSSStyleSheet();
sheet.replaceSync(styles);
document.adoptedStyleSheets.push(sheet);

const close = () => apply({ type: "viewed", item: null });

export function Opened({ item }: { item: Viewed }) {
  if (item.kind === "help") return <Help />;
  if (item.kind === "qr") return <QrCode url={item.url} title={item.title} />;
  if (item.kind === "emoji") return <EmojiGrid used={item.used} pick={item.pick} />;
  const file = item.files[item.index];
  return file ? <FileViewer item={item} file={file} /> : null;
}

// --- Keys and marks ------------------------------------------------------------------------------

function Help() {
  return (
    <Dialog className="dialog help" aria-labelledby="keys-title" onClose={close}>
      <h1 id="keys-title">Keys and marks</h1>
      <Button icon="remove" label="Close" className="dialog__close" onClick={close} />
      {keys.map((group) => (
        <section key={group.title} aria-label={group.title}>
          <h2>{group.title}</h2>
          <dl>
            {group.keys.map(([key = "", meaning]) => (
              <div key={key}>
                <dt>
                  <kbd>{key.replace("Ctrl+", COMMAND)}</kbd>
                </dt>
                <dd>{meaning}</dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
    </Dialog>
  );
}

// --- The viewer ----------------------------------------------------------------------------------

interface FrameProps {
  label: string;
  onKeyDown?: (event: KeyboardEvent) => void;
  children: ReactNode;
}

/** Escape, the button and a click on the ground leave it. */
function Frame({ label, onKeyDown, children }: FrameProps) {
  return (
    <Dialog
      className="lightbox"
      aria-label={`${label}, press Escape to close`}
      onClose={close}
      onKeyDown={onKeyDown}
      onClick={({ target }) =>
        (target as Element).matches(".lightbox, .lightbox__ground") && close()
      }
    >
      <Button icon="remove" label="Close" className="lightbox__btn" onClick={close} />
      {children}
    </Dialog>
  );
}

function Actions({
  href,
  name,
  onShare,
}: {
  href: string;
  name: string;
  onShare: false | (() => void);
}) {
  return (
    <>
      {onShare && (
        <Button
          icon="share"
          label="Share"
          className="lightbox__btn lightbox__btn--share"
          onClick={onShare}
        />
      )}
      <LinkButton
        href={href}
        download={name}
        icon="download"
        label="Download"
        className="lightbox__btn lightbox__btn--download hide-in-ios-pwa"
      />
    </>
  );
}

function QrCode({ url, title }: { url: string; title: string }) {
  const share = () => void device.share({ title, url });
  return (
    <Frame label="Image viewer">
      <img
        className="lightbox__image"
        data-kind="qr"
        src={device.qrPath(url)}
        alt={`QR code: ${title}`}
      />
      <Actions
        href={device.qrPath(url)}
        name="campfire-qr.svg"
        onShare={device.canShare({ title, url }) && share}
      />
    </Frame>
  );
}

function FileViewer({ item, file }: { item: Viewed & { kind: "file" }; file: Attachment }) {
  function leaf({ key, target }: KeyboardEvent) {
    // A video's own keys are its own.
    if (target instanceof HTMLVideoElement) return;
    const last = item.files.length - 1;
    const { index } = item;
    const goals: Record<string, number> = {
      ArrowLeft: Math.max(index - 1, 0),
      ArrowRight: Math.min(index + 1, last),
      Home: 0,
      End: last,
    };
    const goal = goals[key];
    if (goal !== undefined && goal !== index)
      apply({ type: "viewed", item: { ...item, index: goal } });
  }

  return (
    <Frame label={`${file.filename}, image viewer`} onKeyDown={leaf}>
      {file.kind === "video" ? (
        // biome-ignore lint/a11y/useMediaCaption: people send videos, and no captions with them.
        <video
          key={file.id}
          className="lightbox__image"
          src={file.url ?? ""}
          poster={file.still_url ?? undefined}
          preload="none"
          controls
          playsInline
          aria-label={file.filename}
        />
      ) : (
        <Picture key={file.id} file={file} />
      )}
      <Actions
        href={file.download_url ?? ""}
        name={file.filename}
        onShare={canShareFile(file) && (() => void shareFile(file))}
      />
    </Frame>
  );
}

/** The still at once, and the original in its place when it is there. */
function Picture({ file }: { file: Attachment }) {
  const { url, still_url, filename, width, height } = file;
  const [original, setOriginal] = useState<"coming" | "here" | "broken">("coming");
  const [zoom, setZoom] = useState(0);

  // The still takes the place that the original will have.
  const sides = width &&
    height && {
      aspectRatio: `${width} / ${height}`,
      inlineSize: zoom
        ? width * zoom
        : `min(${width}px, 100dvw - 2ch, (100dvh - 2rem) * ${width / height})`,
    };

  // The browser loads and decodes it, and must be told when nobody waits any more.
  useEffect(() => {
    let gone = false;
    const image = new Image();
    image.src = url ?? "";
    image.decode().then(
      () => gone || setOriginal("here"),
      () => gone || setOriginal("broken"),
    );
    return () => {
      gone = true;
      image.src = "";
    };
  }, [url]);

  return (
    <>
      <div className="lightbox__ground">
        <img
          className="lightbox__image"
          src={(original === "here" ? url : still_url) ?? ""}
          alt={filename}
          data-zoom={zoom || undefined}
          style={sides || undefined}
          onDoubleClick={() => setZoom((zoom + 1) % 3)}
        />
      </div>
      {original === "broken" && (
        <p className="lightbox__note" role="status">
          The original could not be loaded
        </p>
      )}
    </>
  );
}

// --- Emoji ----------------------------------------------------------------------------------------

/** Emoji and their names, the most common ones first; the first name is for people to read. */
const emojiNames = async (): Promise<Record<string, string[]>> =>
  (await insisted(() => import("../emoji.json"))).default;

const RANKS = 3;

/** By the names that begin so, or have a word that does; once it is ended, by the whole name. */
export async function findEmoji(query: string, ended: boolean) {
  const wanted = query.toLowerCase();
  const begins = (word: string) => word.startsWith(wanted);
  const ranked = Object.entries(await emojiNames()).map(([text, [label = "", ...names]]) => {
    const words = `${names.join("_")} ${label.toLowerCase()}`.split(/[ _]/);
    const whole = names.indexOf(wanted);
    const begun = names.findIndex(begins);
    const rank = whole >= 0 ? 0 : ended ? RANKS : begun >= 0 ? 1 : words.some(begins) ? 2 : RANKS;
    const name = `:${names[Math.max(whole, begun, 0)]}:`;
    return { rank, offer: { name, about: "", text, character: text } };
  });
  const fitting = ranked.filter(({ rank }) => rank < RANKS).sort((a, b) => a.rank - b.rank);
  return fitting.map(({ offer }) => offer);
}

const [CELLS, COLUMNS] = [64, 8];

interface EmojiProps {
  /** By the room, those used last first. */
  used: readonly string[];
  pick: (emoji: string) => void;
}

/** What the room used last, and common ones: one tab stop, with arrow keys. */
function EmojiGrid({ used, pick }: EmojiProps) {
  const [names, setNames] = useState<Record<string, string[]>>({});
  // The names come from the network.
  useEffect(() => {
    void fetched(emojiNames()).then((known) => setNames(known ?? {}));
  }, []);
  const cells = [...new Set([...used, ...Object.keys(names)])].slice(0, CELLS);
  return (
    <Dialog className="emoji-grid shadow" aria-label="Emoji" onClose={close} onClick={leave}>
      <div role="menu" aria-label="Emoji" onKeyDown={(event) => moveIn(event, COLUMNS)}>
        {cells.map((emoji, index) => (
          <button
            key={emoji}
            type="button"
            role="menuitem"
            className="btn btn--plain message__action-btn"
            title={names[emoji]?.[0]}
            aria-label={names[emoji]?.[0] ?? emoji}
            tabIndex={index === 0 ? 0 : -1}
            onClick={() => {
              // The focus comes back from the dialog before it goes where what is picked is.
              flushSync(close);
              pick(emoji);
            }}
          >
            <span className="boost-character">{emoji}</span>
          </button>
        ))}
      </div>
    </Dialog>
  );
}

/** A click beside it. */
const leave = ({ target }: React.MouseEvent) => (target as Element).matches("dialog") && close();
