/**
 * The building blocks: what a button, a field, a switch, a panel and a popover are. Nothing here
 * knows a URL or the server; screens put these together.
 */
import {
  type ComponentProps,
  createElement,
  type FormEvent,
  type ReactNode,
  type RefObject,
  useEffect,
  useId,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import { flushSync } from "react-dom";
import { ApiError, type User } from "../lib/api";
import { copyText } from "../lib/browser";
import { announce, flash } from "../lib/store";
import { formatDate, formatFull, formatTime } from "../lib/text";
import drawings from "../pictures/icons.json";
import translations from "../translations.json";

// --- Icons -------------------------------------------------------------------------------------

export type IconName = keyof typeof drawings;

const pictures = import.meta.glob<string>(
  [
    "/src/pictures/icons/*.svg",
    "/node_modules/@phosphor-icons/core/assets/bold/{arrows-clockwise,arrows-left-right,bell,broom,caret-right,clipboard-text,cloud-slash,download-simple,export,eye-slash,globe,key}-bold.svg",
    "/node_modules/@phosphor-icons/core/assets/bold/{link,link-break,paperclip,prohibit,qr-code,sign-out,sliders-horizontal,text-a-underline,toggle-right,trash}-bold.svg",
    "/node_modules/@phosphor-icons/core/assets/fill/{bell,bell-slash,camera,check-fat,crown,device-mobile,envelope-simple,file-text,gear,gear-six,key,laptop}-fill.svg",
    "/node_modules/@phosphor-icons/core/assets/fill/{lifebuoy,lock,notebook,palette,password,pencil-simple,robot,user,user-plus,users-four,warning,x-circle}-fill.svg",
  ],
  { eager: true, exhaustive: true, import: "default", query: "?raw" },
);

const drawn = new Map<string, ReactNode>();

/** Decorative: the name comes from the control it stands in. */
export function Icon({ name, size }: { name: IconName; size?: number | string }) {
  const from = drawings[name];
  const path = from.startsWith("own/")
    ? `/src/pictures/icons/${from.slice(4)}.svg`
    : `/node_modules/@phosphor-icons/core/assets/${from}.svg`;
  const style = size === undefined ? undefined : { blockSize: size, inlineSize: size };
  return (
    <span className="icon" data-icon={name} aria-hidden="true" style={style}>
      <Drawing source={pictures[path] ?? "<svg/>"} />
    </span>
  );
}

/** An SVG file as elements: parsed once, so that its colours follow the text around it. */
export function Drawing({ source }: { source: string }) {
  if (!drawn.has(source)) {
    const svg = new DOMParser().parseFromString(source, "image/svg+xml").documentElement;
    // Phosphor leaves a wide margin, which would make its drawings smaller than ours.
    if (svg.getAttribute("viewBox") === "0 0 256 256") svg.setAttribute("viewBox", "18 18 220 220");
    drawn.set(source, toElement(svg, 0));
  }
  return drawn.get(source);
}

function toElement(shape: Element, key: number): ReactNode {
  const attributes: Record<string, unknown> = { key };
  for (const { name, value } of shape.attributes) {
    attributes[name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())] = value;
  }
  return createElement(shape.tagName, attributes, ...[...shape.children].map(toElement));
}

// --- Buttons and links -------------------------------------------------------------------------

interface Face {
  icon?: IconName | undefined;
  /** The words of a control that shows only an icon. */
  label?: string | undefined;
}

type ButtonProps = Face & ComponentProps<"button"> & { busy?: boolean };

export function Button({ icon, label, busy, className = "", children, ...rest }: ButtonProps) {
  const shape = buttonShape({ icon, label, children });
  return (
    <button
      type="button"
      className={`${shape} ${className}`}
      aria-busy={busy || undefined}
      {...rest}
    >
      <ButtonFace icon={icon} label={label} />
      {children}
    </button>
  );
}

export function LinkButton({
  icon,
  label,
  className = "",
  children,
  ...rest
}: Face & ComponentProps<"a">) {
  return (
    <a className={`${buttonShape({ icon, label, children })} ${className}`} {...rest}>
      <ButtonFace icon={icon} label={label} />
      {children}
    </a>
  );
}

/** Only an icon, and words for those who cannot see it: a circle. Styles could tell, but slowly. */
function buttonShape({ icon, label, children }: Face & { children?: ReactNode }): string {
  return icon && label && !children ? "btn btn--icon" : "btn";
}

function ButtonFace({ icon, label }: Face) {
  return (
    <>
      {icon && <Icon name={icon} />}
      {label && <span className="for-screen-reader">{label}</span>}
    </>
  );
}

/** The round black button that ends a panel's form. */
export function Submit({
  icon = "check",
  label = "Save",
  busy = false,
}: Face & { busy?: boolean }) {
  const className = "btn--reversed center txt-large";
  return <Button type="submit" icon={icon} label={label} busy={busy} className={className} />;
}

export function CopyButton({ text, label = "Copy link", ...rest }: ButtonProps & { text: string }) {
  const [copied, setCopied] = useState(false);

  async function copy() {
    setCopied(false);
    if (!(await copyText(text))) return;
    setCopied(true);
    announce("Copied");
  }

  return (
    <Button
      icon={copied ? "check" : "copy"}
      label={label}
      data-copied={copied || undefined}
      onAnimationEnd={() => setCopied(false)}
      {...rest}
      onClick={copy}
    />
  );
}

// --- Forms -------------------------------------------------------------------------------------

type Reasons = Readonly<Record<string, readonly string[]>>;

/** One submission at a time; what the server refuses is said under its field, which is focused. */
export function useSubmit(send: (form: FormData) => Promise<void>) {
  const [state, setState] = useState<{ busy: boolean; fields: Reasons }>({
    busy: false,
    fields: {},
  });

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    if (state.busy) return;
    const form = event.currentTarget;
    let fields: Reasons = {};
    setState({ busy: true, fields });
    try {
      await send(new FormData(form));
    } catch (problem) {
      fields = problem instanceof ApiError ? problem.fields : {};
      if (Object.keys(fields).length === 0) flash("alert", (problem as Error).message);
    }
    flushSync(() => setState({ busy: false, fields }));
    form.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }

  return { ...state, submit };
}

interface FieldProps extends ComponentProps<"input"> {
  label: string;
  icon?: IconName;
  words?: TranslationKey;
  reasons?: readonly string[] | undefined;
}

export function Field({
  label,
  icon,
  words,
  reasons,
  className = "txt-large",
  ...input
}: FieldProps) {
  const id = useId();
  return (
    <div className="field flex align-center gap">
      <label className={`input input--actor ${className}`}>
        <input
          type="text"
          className="input"
          placeholder={label}
          aria-label={label}
          aria-invalid={reasons ? true : undefined}
          aria-describedby={reasons ? id : undefined}
          {...input}
        />
        {icon && <Icon name={icon} size={24} />}
      </label>
      {words && <Translate words={words} />}
      {reasons?.[0] && (
        <p id={id} className="field__reason txt-small txt-negative">
          {label} {reasons.join(", ")}
        </p>
      )}
    </div>
  );
}

export function Switch({ label, ...input }: ComponentProps<"input"> & { label: string }) {
  return (
    <label className="switch">
      {/* biome-ignore lint/a11y/useAriaPropsForRole: a checkbox tells its own state */}
      <input type="checkbox" role="switch" className="switch__input" {...input} />
      <span className="switch__btn" aria-hidden="true" />
      <span className="for-screen-reader">{label}</span>
    </label>
  );
}

// --- Panels, rows, small things ----------------------------------------------------------------

export function Panel({ className = "", ...rest }: ComponentProps<"section">) {
  return <section className={`panel ${className}`} {...rest} />;
}

interface ListRowProps extends ComponentProps<"li"> {
  user?: User;
  name: ReactNode;
}

/** Who or what, a dashed line, and its control. */
export function ListRow({ user, name, className = "", children, ...rest }: ListRowProps) {
  return (
    <li className={`flex align-center gap ${className}`} {...rest}>
      {user && <Avatar user={user} href={user.url} />}
      <strong className="overflow-ellipsis min-width">{name}</strong>
      <hr className="separator" role="presentation" />
      {children}
    </li>
  );
}

export function Spinner({ label = "Loading" }: { label?: string }) {
  return (
    <span className="spinner">
      <span className="for-screen-reader">{label}</span>
    </span>
  );
}

const formats = { date: formatDate, full: formatFull, time: formatTime };

export function Time({
  at,
  as = "time",
  className,
}: {
  at: number;
  as?: keyof typeof formats;
  className?: string;
}) {
  return (
    <time className={className} dateTime={new Date(at).toISOString()} title={formatFull(at)}>
      {formats[as](at)}
    </time>
  );
}

type Portrait = Pick<User, "name" | "avatar_url"> & Partial<Pick<User, "title" | "status">>;

interface AvatarProps {
  /** Null: nobody yet. */
  user: Portrait | null;
  /** Makes the picture a link to this place. */
  href?: string | undefined;
  className?: string;
  tabIndex?: number | undefined;
}

export function Avatar({ user, href, className = "", tabIndex }: AvatarProps) {
  const picture = user ? (
    <img src={user.avatar_url} width={48} height={48} alt="" aria-hidden="true" />
  ) : (
    <Icon name="stranger" size="100%" />
  );
  return (
    <figure
      className={`avatar ${className}`}
      data-status={user?.status}
      title={user?.title ?? user?.name}
    >
      {href && user ? (
        <a
          href={href}
          className="btn avatar"
          aria-label={`${user.name}, profile`}
          tabIndex={tabIndex}
        >
          {picture}
        </a>
      ) : (
        picture
      )}
      {user?.status === "banned" && <Icon name="cancel" size="100%" />}
    </figure>
  );
}

// --- Popovers and dialogs ----------------------------------------------------------------------

const FLIP_AT = 90;
const EDGE = 8;

interface PopoverProps extends ComponentProps<"div"> {
  anchor: RefObject<HTMLElement | null>;
  onClose: () => void;
}

/** Mounted only while open. Turns upwards near the window's end and stays inside its sides. */
export function Popover({ anchor, onClose, ...rest }: PopoverProps) {
  const popover = useRef<HTMLDivElement>(null);
  const fit = useFit(popover);
  useDismissal(popover, anchor, onClose);
  return <div ref={popover} data-flipped={fit.flipped || undefined} style={fit.style} {...rest} />;
}

function useFit(popover: RefObject<HTMLElement | null>) {
  const [fit, setFit] = useState({ flipped: false, style: {} as Record<string, string> });
  useLayoutEffect(() => {
    const box = popover.current?.getBoundingClientRect();
    if (!box) return;
    const right = document.documentElement.clientWidth;
    const shift = Math.max(EDGE - box.left, Math.min(0, right - EDGE - box.right));
    const style = { "--shift": `${shift}px`, maxInlineSize: `${right - box.left - shift}px` };
    setFit({ flipped: box.bottom > window.innerHeight - FLIP_AT, style });
  }, [popover]);
  return fit;
}

/** Escape, a press elsewhere and the focus moving elsewhere close it. */
function useDismissal(
  popover: RefObject<HTMLElement | null>,
  anchor: RefObject<HTMLElement | null>,
  close: () => void,
) {
  // The window is outside React, and hears what happens elsewhere.
  useEffect(() => {
    const inside = (target: EventTarget | null) =>
      target instanceof Node &&
      (popover.current?.contains(target) || anchor.current?.contains(target));
    const away = (event: Event) => {
      if (!inside(event.target)) close();
    };
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      close();
      anchor.current?.focus();
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("focusin", away);
    document.addEventListener("keydown", onKey, true);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("focusin", away);
      document.removeEventListener("keydown", onKey, true);
    };
  });
}

interface NoticeProps {
  anchor: RefObject<HTMLElement | null>;
  heading: string;
  onClose: () => void;
  children: ReactNode;
}

/** What v1.0 says where v2.0 will act: calm, and what works today. */
export function ComingNotice({ anchor, heading, onClose, children }: NoticeProps) {
  const id = useId();

  function dismiss() {
    onClose();
    anchor.current?.focus();
  }

  return (
    <Popover
      anchor={anchor}
      onClose={onClose}
      className="coming shadow"
      role="group"
      aria-labelledby={id}
    >
      <strong id={id} tabIndex={-1} ref={(heading) => heading?.focus()}>
        {heading}
      </strong>
      <p className="txt-small">{children}</p>
      <Button
        icon="remove"
        label="Close"
        className="btn--borderless coming__close"
        onClick={dismiss}
      />
    </Popover>
  );
}

/** The camera beside a picture that cannot be changed yet. */
export function ComingSoon({
  label,
  heading,
  children,
}: {
  label: string;
  heading: string;
  children: ReactNode;
}) {
  const [open, setOpen] = useState(false);
  const anchor = useRef<HTMLButtonElement>(null);
  return (
    <>
      <Button
        ref={anchor}
        icon="camera"
        label={label}
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      />
      {open && (
        <ComingNotice anchor={anchor} heading={heading} onClose={() => setOpen(false)}>
          {children}
        </ComingNotice>
      )}
    </>
  );
}

// --- Translations ------------------------------------------------------------------------------

export type TranslationKey = keyof typeof translations.words;

/** Says in seven languages what a field asks for. It follows its field, and stands before it. */
export function Translate({ words }: { words: TranslationKey }) {
  const [open, setOpen] = useState(false);
  const anchor = useRef<HTMLButtonElement>(null);
  return (
    <span className="language-list">
      <Button
        ref={anchor}
        icon="globe"
        label="Translate"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      />
      {open && (
        <Popover
          anchor={anchor}
          onClose={() => setOpen(false)}
          className="language-list-menu shadow"
        >
          <ul>
            {translations.languages.map(([language, flag], index) => (
              <li key={language}>
                <span aria-hidden="true">{flag}</span>
                <span lang={language}>{translations.words[words][index]}</span>
              </li>
            ))}
          </ul>
        </Popover>
      )}
    </span>
  );
}
