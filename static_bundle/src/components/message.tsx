/**
 * One message: its bubble, its parts, and the boosts that hang on it. What happens next is decided
 * by its `MessageHome`, which is the room, or the search screen.
 */
import { memo, type ReactNode, useState } from "react";
import { flushSync } from "react-dom";
import type { Boost, Message as Said, Sound } from "../lib/api";
import { isTouchOnly, painted, player } from "../lib/browser";
import { alike, type TimelineMessage } from "../lib/messages";
import { getState, useObservable, useStore } from "../lib/store";
import { formatFull, formatting, hostOf, keepsBlanks, safeHtml, sentence } from "../lib/text";
import { EditForm, type EditHome } from "./composer";
import { EditFile, FileContent, GoingFile, isBoxed, useBroken } from "./files";
import { Avatar, Button, highlightCode, Icon, Spinner, Time } from "./ui";

const BOOST_LENGTH = 16;
const PREVIEWS_OFF = "Link previews are switched off here";

export interface MessageHome extends EditHome {
  boost(message: TimelineMessage, content: string): void;
  unboost(boost: Boost): void;
  edit(message: TimelineMessage): void;
  reply(message: TimelineMessage): void;
  /** It, and what follows, is left for another time. */
  keepUnread(message: TimelineMessage): void;
  /** Its file, on the whole screen. */
  view(message: TimelineMessage): void;
  /** Shows emoji to pick one of. */
  emoji(pick: (emoji: string) => void): void;
  retry(message: TimelineMessage): void;
  /** Back into the editor. */
  takeBack(message: TimelineMessage): void;
  discard(message: TimelineMessage): void;
}

export interface ActionsProps {
  message: TimelineMessage;
  home: MessageHome;
  own: boolean;
  tab: number;
  onBoost: () => void;
}

interface MessageProps {
  message: TimelineMessage;
  /** The one before it, and who is looking: what it looks like follows from these. */
  previous: Said | undefined;
  me: number | undefined;
  home: MessageHome;
  /** The options of a message, where it has any. */
  Actions?: (props: ActionsProps) => ReactNode;
  /** The one message of the feed whose controls are in the tab order. */
  active: boolean;
  /** What its editor starts with: null for the stored text; undefined while it is not edited. */
  draft?: string | null | undefined;
  /** The first that came since I left off. */
  fresh?: boolean;
  /** In search results: the message's room, and its text with the matches marked. */
  found?: { room_name: string; highlight_html: string | undefined } | undefined;
}

/** Memoised: a room shows up to 320 of these, and news concern one or two. */
export const Message = memo(function Message(props: MessageProps) {
  const { message, home, Actions, active, found, draft, fresh = false } = props;
  const [boosting, setBoosting] = useState(false);
  const tab = active ? 0 : -1;
  if (!isWhole(message)) return <Unrenderable />;
  const format = formatting(message, props.previous, props.me);
  const id = message.client_message_id;
  return (
    <article
      id={`message_${id}`}
      className={classes(props, format)}
      aria-labelledby={`${fresh ? `new_${id} ` : ""}author_${id} time_${id}${message.edited_at_ms ? ` edited_${id}` : ""}`}
      aria-describedby={draft === undefined ? `body_${id}` : undefined}
      tabIndex={tab}
      data-message-id={message.id || undefined}
      data-client-message-id={id}
      data-user-id={message.creator.id}
      data-live={message.live || undefined}
    >
      <Separator {...{ id, fresh }} firstOfDay={format.firstOfDay} at={message.timestamp} />
      <Avatar
        user={message.creator}
        href={message.creator.url}
        className="message__avatar"
        tabIndex={tab}
      />
      <div className="message__body">
        {draft === undefined ? (
          <div className="message__body-content" data-boxed={boxed(message)}>
            <Meta message={message} found={found} tab={tab}>
              {Actions && (
                <Actions
                  message={message}
                  home={home}
                  own={format.own}
                  tab={tab}
                  onBoost={() => flushSync(() => setBoosting(true))}
                />
              )}
            </Meta>
            <Content {...{ message, home, active }} html={found?.highlight_html} />
            <Retry message={message} home={home} tab={tab} />
            <Boosts {...{ message, home, tab, boosting, setBoosting }} />
          </div>
        ) : (
          <Edit message={message} home={home} draft={draft} tab={tab} />
        )}
      </div>
    </article>
  );
});

type Format = ReturnType<typeof formatting>;

/** The names that administrators' styles know; the rest of the state is in attributes. */
function classes({ message, draft, fresh, found }: MessageProps, format: Format): string {
  const names = {
    "message message--formatted": true,
    "message--me": format.own,
    "message--threaded": format.threaded && !(fresh || found),
    "message--first-of-day": format.firstOfDay,
    "message--emoji": format.emoji && draft === undefined,
    "message--mentioned": format.mentioned,
    "message--retrying": message.outgoing?.state === "retrying",
    "message--failed": message.outgoing?.state === "failed",
    "search-highlight": message.highlighted,
  };
  return Object.entries(names)
    .filter(([, wanted]) => wanted)
    .map(([name]) => name)
    .join(" ");
}

function isWhole(message: Partial<TimelineMessage>): boolean {
  return message.creator?.id !== undefined && typeof message.body_html === "string";
}

type SeparatorProps = { id: string; at: number; firstOfDay: boolean; fresh: boolean };

/** Where a day begins, or what is new. */
function Separator({ id, at, firstOfDay, fresh }: SeparatorProps) {
  if (!(firstOfDay || fresh)) return null;
  const Line = firstOfDay ? "h2" : "div";
  return (
    <Line className="message__day-separator" data-new={fresh || undefined}>
      {firstOfDay && <Time at={at} as="date" />}
      {fresh && <span id={`new_${id}`}>New</span>}
    </Line>
  );
}

function Unrenderable() {
  return (
    <article className="message message--formatted message--unrenderable center">
      <p className="message__body-content">This message could not be shown</p>
    </article>
  );
}

// --- Its parts --------------------------------------------------------------------------------

interface MetaProps {
  message: TimelineMessage;
  found: MessageProps["found"];
  tab: number;
  children: ReactNode;
}

function Meta({ message, found, tab, children }: MetaProps) {
  const { client_message_id: id, creator, outgoing, path } = message;
  // In a room the days are the headings above.
  const Heading = found ? "h2" : "h3";
  // Without the days above them, times alone say nothing.
  const as = found ? "full" : "time";
  const time = <Time at={message.timestamp} as={as} className="message__timestamp" />;
  return (
    <div className="message__meta">
      <Heading className="message__heading">
        <span className="message__author" id={`author_${id}`} title={creator.title}>
          <strong>{creator.name}</strong>
        </span>{" "}
        <span id={`time_${id}`}>
          {outgoing ? (
            time
          ) : (
            <a href={path} className="message__permalink" tabIndex={tab}>
              {time}
            </a>
          )}
        </span>
        {message.edited_at_ms && <Edited message={message} at={message.edited_at_ms} />}
        {found && (
          <span className="message__room">
            <a href={path} tabIndex={tab}>
              {found.room_name}
            </a>
          </span>
        )}
      </Heading>
      {outgoing && outgoing.state !== "pending" && (
        <span className="message__status txt-small" data-state={outgoing.state}>
          {outgoing.state === "failed" ? <Icon name="cancel" size={20} /> : <Spinner label="" />}
          {outgoing.state === "retrying" && "Trying again"}
        </span>
      )}
      {children}
    </div>
  );
}

function Edited({ message, at }: { message: TimelineMessage; at: number }) {
  const { client_message_id: id, creator, edited_by } = message;
  const other = edited_by && edited_by.id !== creator.id ? ` by ${edited_by.name}` : "";
  return (
    <span className="message__edited" id={`edited_${id}`} title={formatFull(at)}>
      edited{other}
    </span>
  );
}

interface ContentProps {
  message: TimelineMessage;
  home: MessageHome;
  html: string | undefined;
  active: boolean;
}

/** A file that fills its bubble from side to side. */
function boxed({ attachment, going, outgoing }: TimelineMessage): true | undefined {
  return (outgoing ? !!going : !!attachment && isBoxed(attachment)) || undefined;
}

function Content({ message, home, html, active }: ContentProps) {
  const { client_message_id: id, sound, attachment: file, going, outgoing } = message;
  const tab = active ? 0 : -1;
  const words = !(sound || file || going);
  return (
    <div className="message__presentation" id={`body_${id}`} dir="auto" data-found={html && true}>
      {sound && <SoundContent message={message} sound={sound} tab={tab} />}
      {going && outgoing && (
        <GoingFile {...{ message, going, tab }} onCancel={() => home.discard(message)} />
      )}
      {file && !outgoing && (
        <FileContent {...{ file, going, tab, html }} onView={() => home.view(message)} />
      )}
      {words && <MessageBody html={html ?? message.body_html} active={active} />}
      {!html && isLoneLink(message) && <LinkCard address={message.links[0] ?? ""} />}
    </div>
  );
}

interface EditProps {
  message: TimelineMessage;
  home: MessageHome;
  draft: string | null;
  tab: number;
}

function Edit({ message, home, draft, tab }: EditProps) {
  const { attachment: file } = message;
  if (!file) return <EditForm message={message} home={home} draft={draft} />;
  return (
    <EditFile
      file={file}
      tab={tab}
      onView={() => home.view(message)}
      onRemove={() => home.remove(message)}
      onClose={() => home.stopEditing(message)}
    />
  );
}

/** The only place where HTML of the server is inserted: sanitized there, and once more here. */
export function MessageBody({ html, active }: { html: string; active: boolean }) {
  return (
    <div
      className={keepsBlanks(html) ? "trix-content trix-content--exact" : "trix-content"}
      ref={(body) => {
        if (body) dress(body, active);
      }}
      // biome-ignore lint/security/noDangerouslySetInnerHtml: safeHtml is what makes it safe.
      dangerouslySetInnerHTML={{ __html: safeHtml(html) }}
    />
  );
}

function dress(body: HTMLElement, active: boolean) {
  for (const link of body.querySelectorAll("a")) {
    link.tabIndex = active ? 0 : -1;
    if (link.target === "_blank" && !getState().features.opengraph) link.title ||= PREVIEWS_OFF;
  }
  if (body.querySelector("pre")) void painted().then(() => highlightCode(body));
}

function SoundContent(props: { message: TimelineMessage; sound: Sound; tab: number }) {
  const { message, sound, tab } = props;
  const key = message.client_message_id;
  const playing = useObservable(player) === key;
  return (
    <>
      <button
        type="button"
        className="btn btn--plain sound"
        aria-label={`Play ${sound.name}`}
        aria-pressed={playing}
        tabIndex={tab}
        onClick={() => player.toggle(sound, key)}
      >
        🔊
      </button>
      {sound.image ? <SoundPicture name={sound.name} image={sound.image} /> : sound.text}
    </>
  );
}

function SoundPicture({ name, image }: { name: string; image: NonNullable<Sound["image"]> }) {
  const [missing, misses] = useBroken();
  const { url, ...size } = image;
  return missing ? name : <img src={url} {...size} alt={name} onError={misses} />;
}

// --- Where previews are switched off ----------------------------------------------------------

/** The text is one address of another site, and nothing else. */
function isLoneLink({ links, plain_text, outgoing, previews }: TimelineMessage): boolean {
  if (outgoing || links.length !== 1 || getState().features.opengraph) return false;
  if (previews?.length) return false;
  const [address = ""] = links;
  return plain_text.trim() === address && hostOf(address) !== location.host;
}

function LinkCard({ address }: { address: string }) {
  return (
    <div className="link-soon txt-small">
      <Icon name="web" size={20} />
      <span className="overflow-ellipsis">{hostOf(address)}</span>
      <span>{PREVIEWS_OFF}</span>
    </div>
  );
}

// --- Not sent ---------------------------------------------------------------------------------

function Retry({ message, home, tab }: Pick<BoostsProps, "message" | "home" | "tab">) {
  const { outgoing } = message;
  const gone = useStore((state) => state.room_gone);
  if (outgoing?.state !== "failed") return null;
  return (
    <div className="message__retry txt-small">
      <span className="txt-negative">{outgoing.reason ?? "Not sent"}</span>
      <Button icon="refresh" tabIndex={tab} onClick={() => home.retry(message)}>
        Try again
      </Button>
      {!(gone || message.going) && (
        <Button icon="pencil" tabIndex={tab} onClick={() => home.takeBack(message)}>
          Edit
        </Button>
      )}
      <Button tabIndex={tab} onClick={() => home.discard(message)}>
        {message.going ? "Delete" : "Discard"}
      </Button>
    </div>
  );
}

// --- Boosts -----------------------------------------------------------------------------------

interface BoostsProps {
  message: TimelineMessage;
  home: MessageHome;
  tab: number;
  boosting: boolean;
  setBoosting: (boosting: boolean) => void;
}

interface BadgeProps extends Pick<BoostsProps, "message" | "home" | "tab"> {
  /** All of the same content. */
  boosts: readonly Boost[];
}

const FACES = 3;

function Boosts({ message, home, tab, boosting, setBoosting }: BoostsProps) {
  const id = message.client_message_id;

  function done(content: string | null) {
    setBoosting(false);
    if (content) home.boost(message, content);
    document.getElementById(`message_${id}`)?.focus({ preventScroll: true });
  }

  return (
    <div className="boosts" id={`boosts_message_${id}`}>
      {alike(message.boosts).map((boosts) => (
        <Badge key={boosts[0]?.content} {...{ boosts, message, home, tab }} />
      ))}
      {boosting && <BoostForm home={home} onDone={done} />}
      {!boosting && message.boosts.length > 0 && (
        <Button
          icon="boost"
          label="New boost"
          className="message__boost-btn"
          tabIndex={tab}
          onClick={() => flushSync(() => setBoosting(true))}
        />
      )}
    </div>
  );
}

/** One for everybody who boosted the same: whose it is too takes it back, all others join. */
function Badge({ boosts, message, home, tab }: BadgeProps) {
  const me = useStore((state) => state.me);
  const [first] = boosts;
  const own = boosts.findLast(({ booster }) => booster.id === me?.id);
  const people = new Map(boosts.map(({ booster }) => [booster.id, booster]));
  const names = sentence([...people.values()].map(({ name }) => name));
  if (!first) return null;
  const said = `${names} boosted ${first.content}`;
  return (
    <button
      type="button"
      className="boost"
      id={`boost_${first.id}`}
      aria-label={`${said}, press to ${own ? "take yours back" : "join"}`}
      aria-pressed={!!own}
      title={said}
      tabIndex={tab}
      onClick={() => (own ? home.unboost(own) : home.boost(message, first.content))}
    >
      <span className="boost__faces">
        {[...people.values()].slice(0, FACES).map((booster) => (
          <Avatar key={booster.id} user={booster} className="boost__avatar" />
        ))}
      </span>
      <span className={first.emoji_only ? "txt-medium" : "txt-small"} dir="auto">
        {first.content}
      </span>
      {boosts.length > 1 && <span className="boost__count txt-small">{boosts.length}</span>}
    </button>
  );
}

const center = (form: HTMLFormElement | null) => form?.scrollIntoView({ block: "center" });

interface BoostFormProps {
  home: MessageHome;
  onDone: (content: string | null) => void;
}

function BoostForm({ home, onDone }: BoostFormProps) {
  const me = useStore((state) => state.me);
  const [content, setContent] = useState("");
  return (
    <form
      className="boost boost__form"
      ref={center}
      onSubmit={(event) => {
        event.preventDefault();
        if (content.trim()) onDone(content.trim());
      }}
      onKeyDown={(event) => event.key === "Escape" && onDone(null)}
    >
      <Avatar user={me} className="boost__avatar" />
      <input
        className="input input--boost txt-small"
        aria-label="New boost"
        autoComplete="off"
        required
        pattern=".*\S.*"
        // biome-ignore lint/a11y/noAutofocus: the person just asked for this field.
        autoFocus
        value={content}
        onChange={({ target }) => setContent([...target.value].slice(0, BOOST_LENGTH).join(""))}
      />
      {/* The keyboard that comes with a finger has emoji of its own. */}
      {!isTouchOnly() && (
        <Button
          icon="emoji"
          label="Emoji"
          className="btn--borderless boost__btn"
          onClick={() => home.emoji(onDone)}
        />
      )}
      <Button type="submit" icon="check" label="Boost" className="btn--reversed boost__btn" />
      <Button
        icon="minus"
        label="Cancel"
        className="btn--negative boost__btn"
        onClick={() => onDone(null)}
      />
    </form>
  );
}
