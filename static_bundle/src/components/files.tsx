/**
 * Files on the screen: before they are sent, on their way, as messages, and what can be done with
 * them there.
 */
import { type MouseEvent, type ReactNode, useEffect, useRef, useState } from "react";
import type { Attachment } from "../lib/api";
import { boxOf, canShare, confirmed, share, stillOf } from "../lib/browser";
import { forgetPicture, type Going, makeUuid, type TimelineMessage } from "../lib/messages";
import {
  announce,
  flash,
  getState,
  isAdministrator,
  Observable,
  useObservable,
  useStore,
} from "../lib/store";
import { emptyFile, largeFile, sizeInWords } from "../lib/text";
import { NO_NETWORK, returns } from "../lib/trouble";
import { Button, Icon, LinkButton, Notice } from "./ui";

export const FILES_OFF = "File sharing is switched off here";
const FOLDERS = "Folders can’t be sent. Put them in a zip file first.";

// --- Before they are sent ---------------------------------------------------------------------

interface Waiting {
  /** By name: in this order they go. */
  tiles: readonly Observable<Going>[];
  /** It is being said that no files can be sent. */
  notice: boolean;
}

/** The files that somebody is about to send to one room. */
export class Tiles extends Observable<Waiting> {
  constructor() {
    super({ tiles: [], notice: false });
  }

  /** Takes what was chosen, dropped or pasted, or says why not. */
  readonly offer = (files: readonly File[], folders = false): void => {
    const { files: enabled, max_file_bytes: most } = getState().features;
    if (!enabled) {
      this.change({ notice: true });
      announce(FILES_OFF);
      return;
    }
    const reasons = files.map(({ name, size }) => {
      if (size === 0) return emptyFile(name);
      return size > most ? largeFile(name, most) : "";
    });
    const refused = [...(folders ? [FOLDERS] : []), ...reasons.filter(Boolean)];
    if (refused.length > 0) flash("alert", refused.join(" "));
    const taken = files.filter((_, at) => !reasons[at]).map(pictured);
    if (taken.length > 0) this.change({ tiles: [...this.state().tiles, ...taken].sort(byFile) });
  };

  remove(tile: Observable<Going>): void {
    this.change({ tiles: this.state().tiles.filter((other) => other !== tile) });
    forgetPicture(tile);
  }

  /** All of them, which are the caller's from now on. */
  take(): readonly Observable<Going>[] {
    const { tiles } = this.state();
    this.change({ tiles: [] });
    return tiles;
  }
}

const byFile = (a: Observable<Going>, b: Observable<Going>) =>
  a.state().file.name.localeCompare(b.state().file.name);

const kept = new Map<number, Tiles>();

/** The same ones until the page is left, whichever rooms were looked at meanwhile. */
export function tilesOf(room_id: number): Tiles {
  const tiles = kept.get(room_id) ?? new Tiles();
  kept.set(room_id, tiles);
  return tiles;
}

/** A file whose picture, if it has one, comes as soon as the browser has read it. */
function pictured(file: File): Observable<Going> {
  const going = new Observable<Going>({
    id: makeUuid(),
    file,
    part: null,
    thumbnail: null,
    box: null,
  });
  void thumbnailOf(file).then((found) => going.change(found));
  return going;
}

async function thumbnailOf(file: File): Promise<Partial<Going>> {
  // A drawing is text to the server, and shown as a file.
  if (/^image\/(?!svg)/.test(file.type)) {
    const thumbnail = URL.createObjectURL(file);
    const box = await boxOf(thumbnail);
    if (box) return { thumbnail, box };
    URL.revokeObjectURL(thumbnail);
  }
  const still = file.type.startsWith("video/") ? await stillOf(file) : null;
  return still ? { thumbnail: URL.createObjectURL(still.blob) } : {};
}

export function FileTiles({ files, onEmpty }: { files: Tiles; onEmpty: () => void }) {
  const { tiles } = useObservable(files);
  const list = useRef<HTMLUListElement>(null);
  if (tiles.length === 0) return null;

  function remove(tile: Observable<Going>, at: number) {
    files.remove(tile);
    // Once the list is the shorter one.
    requestAnimationFrame(() => {
      const buttons = list.current?.querySelectorAll("button") ?? [];
      const next = buttons[Math.min(at, buttons.length - 1)];
      if (next) next.focus();
      else onEmpty();
    });
  }

  return (
    <ul className="composer__filelist" aria-label="Files to send" ref={list}>
      {tiles.map((tile, at) => (
        <li key={tile.state().id}>
          <Tile going={tile} onRemove={() => remove(tile, at)} />
        </li>
      ))}
    </ul>
  );
}

function Tile({ going, onRemove }: { going: Observable<Going>; onRemove: () => void }) {
  const { file, thumbnail } = useObservable(going);
  const [, name, ending] = /^(.+)\.(\w{1,8})$/.exec(file.name) ?? ["", file.name, ""];
  return (
    <button
      type="button"
      className="btn btn--plain composer__file"
      aria-label={`Remove ${file.name}`}
      title={file.name}
      onClick={onRemove}
    >
      <span className="composer__file-thumbnail">
        {thumbnail ? <img src={thumbnail} alt="" /> : <Icon name="file" size={73} />}
      </span>
      <span className="composer__file-caption">
        <span className="overflow-ellipsis">{name}</span>
        <span>{ending}</span>
        <Icon name="remove-circle" />
      </span>
    </button>
  );
}

export function PaperClip({ files, disabled }: { files: Tiles; disabled: boolean }) {
  const { notice } = useObservable(files);
  const enabled = useStore((state) => state.features.files);
  const clip = useRef<HTMLButtonElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const close = () => files.change({ notice: false });
  return (
    <span className="composer__attachment">
      <Button
        ref={clip}
        icon="attachment"
        label={enabled ? "Attach files" : "Attach a file"}
        className="btn--borderless txt-small composer__attachment-btn"
        aria-expanded={enabled ? undefined : notice}
        disabled={disabled}
        onClick={() => (enabled ? input.current?.click() : files.change({ notice: !notice }))}
      />
      <input
        ref={input}
        type="file"
        multiple
        hidden
        onChange={({ currentTarget }) => {
          files.offer([...(currentTarget.files ?? [])]);
          // The same file may be chosen again.
          currentTarget.value = "";
        }}
      />
      {notice && (
        <Notice anchor={clip} heading={FILES_OFF} onClose={close}>
          Text, links, code and sounds all work.
        </Notice>
      )}
    </span>
  );
}

// --- On their way -----------------------------------------------------------------------------

interface GoingProps {
  message: TimelineMessage;
  going: Observable<Going>;
  tab: number;
  onCancel: () => void;
}

/** How far it is; an image shows itself meanwhile, in the box it will have. */
export function GoingFile({ message, going, tab, onCancel }: GoingProps) {
  const { file, part, thumbnail, box } = useObservable(going);
  const percent = Math.floor((part ?? 0) * 100);
  const failed = message.outgoing?.state === "failed";
  return (
    <>
      <div
        className="attachment attachment--going"
        role="progressbar"
        aria-label={file.name}
        aria-valuenow={percent}
        aria-valuemin={0}
        aria-valuemax={100}
        data-picture={box ? true : undefined}
        style={{ ["--part" as string]: `${percent}%`, ...(box && boxStyle(box.width, box.height)) }}
      >
        {box && thumbnail ? (
          <img className="message__attachment" src={thumbnail} alt="" />
        ) : (
          <>
            <Icon name="file" size="1.4em" />
            <span className="overflow-ellipsis">{file.name}</span>
            {!failed && (
              <span className="attachment__percent">
                {part === null ? " - waiting" : ` - ${percent}%`}
              </span>
            )}
          </>
        )}
      </div>
      {!failed && (
        <Button
          icon="remove"
          label={`Cancel upload of ${file.name}`}
          className="btn--borderless attachment__cancel"
          tabIndex={tab}
          onClick={onCancel}
        />
      )}
    </>
  );
}

/** Half of a still's pixels: sharp on screens with two to each of theirs. */
const boxStyle = (width: number, height: number) => ({
  inlineSize: width / 2,
  aspectRatio: `${width} / ${height}`,
});

// --- As messages ------------------------------------------------------------------------------

interface FileProps {
  file: Attachment;
  tab: number;
  /** In search results: its name with the matches marked. */
  html?: string | undefined;
}

function nameOf({ file, html }: FileProps): ReactNode {
  if (!html) return file.filename;
  const nodes: ReactNode[] = [];
  const { body } = new DOMParser().parseFromString(html, "text/html");
  for (const { nodeName, textContent: words } of body.childNodes)
    nodes.push(nodeName === "MARK" ? <mark key={nodes.length}>{words}</mark> : words);
  return nodes;
}

interface ContentProps extends FileProps {
  going: Observable<Going> | undefined;
  onView: () => void;
}

/** Whether a file is shown in a box of its own, or as a line of text is. */
export const isBoxed = (file: Attachment): boolean =>
  !file.missing && (file.kind === "video" || (file.kind === "image" && !!file.still_url));

/** Whether a picture did not come, until there is a connection again, and what says so. */
export function useBroken(): [boolean, () => void] {
  const [broken, setBroken] = useState(false);
  useEffect(() => {
    const again = () => setBroken(false);
    returns.addEventListener("back", again);
    return () => returns.removeEventListener("back", again);
  }, []);
  return [broken, () => setBroken(true)];
}

export function FileContent({ file, going, tab, html, onView }: ContentProps) {
  const [broken, breaks] = useBroken();
  if (file.missing) return <MissingFile name={file.filename} />;
  if (file.kind === "audio") return <Audio file={file} tab={tab} html={html} />;
  if (!isBoxed(file)) return <FileRow file={file} tab={tab} html={html} />;
  if (broken)
    return (
      <div style={{ padding: "0 1.5ch 0.66rem" }}>
        <FileRow file={file} tab={tab} html={html} />
      </div>
    );
  if (file.kind === "video") return <Video file={file} tab={tab} />;
  return <Picture {...{ file, going, tab, onView }} onError={breaks} />;
}

/** Without sizes: the box that most videos have. */
function styleOf({ still_width, still_height, width, height }: Attachment) {
  if (still_width && still_height) return boxStyle(still_width, still_height);
  return width && height
    ? { inlineSize: 300, aspectRatio: `${width} / ${height}` }
    : { inlineSize: 300, aspectRatio: "16 / 9" };
}

const MOVES_UP_TO = 8 * 1024 * 1024;

function Picture({ file, going, tab, onView, onError }: ContentProps & { onError: () => void }) {
  const { filename: name, url, still_url, still_width, still_height, animated } = file;
  const moves = animated && file.byte_size <= MOVES_UP_TO;
  const [local] = useState(() => going?.state().thumbnail);

  function view(event: MouseEvent) {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    onView();
  }

  return (
    <a
      href={url ?? ""}
      className="attachment attachment--image"
      style={{ ...styleOf(file), ...(local && { backgroundImage: `url(${local})` }) }}
      data-lightbox
      aria-label={`View ${name}`}
      tabIndex={tab}
      onClick={view}
    >
      <picture>
        {moves && <source srcSet={still_url ?? ""} media="(prefers-reduced-motion: reduce)" />}
        <img
          src={(moves ? url : still_url) ?? ""}
          width={still_width ?? undefined}
          height={still_height ?? undefined}
          className="message__attachment"
          loading="lazy"
          decoding="async"
          alt={name}
          onError={onError}
          onLoad={() => going && forgetPicture(going)}
        />
      </picture>
      {animated && !moves && <span className="attachment__label">GIF</span>}
    </a>
  );
}

function Video({ file, tab }: FileProps) {
  const { filename, url, still_url } = file;
  return (
    <div className="attachment attachment--video" style={styleOf(file)}>
      {/* biome-ignore lint/a11y/useMediaCaption: people send videos, and no captions with them. */}
      <video
        // Without a poster the browser paints the first frame.
        src={still_url ? (url ?? "") : `${url}#t=0.1`}
        poster={still_url ?? undefined}
        preload={still_url ? "none" : "metadata"}
        controls
        playsInline
        className="message__attachment"
        aria-label={filename}
        tabIndex={tab}
      />
    </div>
  );
}

function Audio(props: FileProps) {
  const { file, tab } = props;
  return (
    <div className="attachment attachment--audio">
      <span className="overflow-ellipsis">{nameOf(props)}</span>
      {/* biome-ignore lint/a11y/useMediaCaption: people send recordings, and no captions with them. */}
      <audio
        src={file.url ?? ""}
        controls
        preload="none"
        aria-label={file.filename}
        tabIndex={tab}
      />
      <FileActions file={file} tab={tab} />
    </div>
  );
}

function FileRow(props: FileProps) {
  const { file, tab } = props;
  return (
    <div className="attachment attachment--file">
      <Icon name="file" size={22} />
      <span>{nameOf(props)}</span>
      <span className="attachment__size">{sizeInWords(file.byte_size)}</span>
      <FileActions file={file} tab={tab} />
    </div>
  );
}

function MissingFile({ name }: { name: string }) {
  const administrator = useStore(isAdministrator);
  return (
    <div className="attachment attachment--file">
      <Icon name="file" size={28} />
      <span>
        {name}
        <small className="attachment__size">This file has not been moved here yet</small>
        {administrator && (
          <small className="attachment__size">
            <code>attach-files</code> brings it over
          </small>
        )}
      </span>
    </div>
  );
}

function FileActions({ file, tab }: FileProps) {
  const { filename, download_url } = file;
  return (
    <>
      <LinkButton
        href={download_url ?? ""}
        download={filename}
        icon="download"
        label={`Download ${filename}`}
        className="message__action-btn hide-in-ios-pwa"
        tabIndex={tab}
      />
      {canShareFile(file) && (
        <Button
          icon="share"
          label={`Share ${filename}`}
          className="message__action-btn"
          tabIndex={tab}
          onClick={() => shareFile(file)}
        />
      )}
    </>
  );
}

const SHARED_UP_TO = 50_000_000;

export function canShareFile({ filename, content_type: type, byte_size }: Attachment): boolean {
  return byte_size <= SHARED_UP_TO && canShare({ files: [new File([], filename, { type })] });
}

/** Under its true name. */
export async function shareFile({ url, filename, content_type: type }: Attachment): Promise<void> {
  const answer = await fetch(url ?? "").catch(() => null);
  if (!answer?.ok) return flash("alert", NO_NETWORK);
  await share({ files: [new File([await answer.blob()], filename, { type })] });
}

interface EditFileProps extends Omit<ContentProps, "going"> {
  onRemove: () => void;
  onClose: () => void;
}

const intoView = (form: HTMLFormElement | null) =>
  form?.scrollIntoView({ block: "center", behavior: "smooth" });

/** A file cannot be edited: it is shown again, larger, with what takes it away. */
export function EditFile({ file, tab, onView, onRemove, onClose }: EditFileProps) {
  return (
    <form
      className="message__body-content message__body-content--editing"
      aria-label="Edit message"
      ref={intoView}
      onKeyDown={(event) => event.key === "Escape" && onClose()}
    >
      <FileContent file={file} going={undefined} tab={tab} onView={onView} />
      <div className="message__edit-btns">
        <Button
          icon="trash"
          label="Delete message"
          className="btn--negative message__edit-btn"
          onClick={() => confirmed("Delete this message for good?") && onRemove()}
        />
      </div>
      <Button
        icon="remove"
        label="Stop editing, discard changes"
        keys="Escape"
        className="btn--borderless message__edit-close-btn"
        autoFocus
        onClick={onClose}
      />
    </form>
  );
}
