/** What forms and panels are made of: fields, switches, the way to send them, rows of a list. */
import {
  type ComponentProps,
  type FormEvent,
  type ReactNode,
  useEffect,
  useId,
  useRef,
  useState,
} from "react";
import { flushSync } from "react-dom";
import type { User } from "../lib/api";
import * as api from "../lib/api";
import { handy } from "../lib/browser";
import { announce, apply, failed, unflash, useStore } from "../lib/store";
import { folded } from "../lib/text";
import { markdown } from "./editor";
import {
  Avatar,
  Button,
  type Face,
  Icon,
  type IconName,
  Notice,
  Spinner,
  Translate,
  type TranslationKey,
} from "./ui";

const PASSWORD_LENGTH = 72;
const FILTER_ABOVE = 20;
const FILTER_DELAY = 300;

/** One submission at a time; what the server refuses is said under its field, which is focused. */
export function useSubmit(send: (form: FormData) => Promise<void>) {
  const [state, setState] = useState<{ busy: boolean; fields: api.Fields }>({
    busy: false,
    fields: {},
  });

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    if (state.busy) return;
    const form = event.currentTarget;
    let fields: api.Fields = {};
    unflash();
    setState({ busy: true, fields });
    try {
      await send(new FormData(form));
    } catch (problem) {
      fields = problem instanceof api.ApiError ? problem.fields : {};
      if (Object.keys(fields).length === 0) failed(problem);
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

type Some = Partial<FieldProps>;

interface PictureProps {
  /** What the camera says. */
  label: string;
  feature: "files" | "avatars";
  /** What there is without a picture, where no new one is taken. */
  otherwise: string;
  /** Keeps the picture on the screen when it is true: it goes with the form. */
  onChoose: (picture: Blob) => boolean | Promise<boolean>;
  removal?: { label: string; onRemove: () => unknown } | false | undefined;
  /** Draws it: the one that was chosen, or the one there is. */
  children: (chosen: string | null) => ReactNode;
}

/** A large picture, what changes it, and what takes it away. */
export function PictureField(props: PictureProps) {
  const { label, removal, children } = props;
  const { chosen, busy, choose } = useChosen(props.onChoose);
  const input = useRef<HTMLInputElement>(null);
  const enabled = useStore((state) => state.features[props.feature]);
  return (
    <div className="avatar__form" aria-busy={busy}>
      <Camera {...props} enabled={enabled} onPress={() => input.current?.click()} />
      {/* biome-ignore lint/a11y/noLabelWithoutControl: it holds the field, where there is one. */}
      <label className="avatar__choice">
        {children(chosen)}
        {busy && <Spinner label="Saving" />}
        {enabled && (
          <input
            ref={input}
            type="file"
            accept="image/*"
            aria-label={label}
            hidden
            disabled={busy}
            onChange={({ currentTarget }) => {
              const [picture] = currentTarget.files ?? [];
              if (picture) void choose(picture);
              currentTarget.value = "";
            }}
          />
        )}
      </label>
      {removal && (
        <Button
          icon="minus"
          label={removal.label}
          className="btn--negative txt-small"
          onClick={removal.onRemove}
        />
      )}
    </div>
  );
}

function useChosen(onChoose: PictureProps["onChoose"]) {
  const [chosen, setChosen] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  // Its address holds the file in memory until it is given up.
  useEffect(() => () => URL.revokeObjectURL(chosen ?? ""), [chosen]);

  async function choose(picture: File) {
    setChosen(URL.createObjectURL(picture));
    setBusy(true);
    try {
      if (!(await onChoose(await handy(picture)))) setChosen(null);
    } catch (problem) {
      setChosen(null);
      failed(problem);
    }
    setBusy(false);
  }

  return { chosen, busy, choose };
}

type CameraProps = Pick<PictureProps, "label" | "feature" | "otherwise">;

function Camera(props: CameraProps & { enabled: boolean; onPress: () => void }) {
  const { label, feature, otherwise, enabled, onPress } = props;
  const [open, setOpen] = useState(false);
  const anchor = useRef<HTMLButtonElement>(null);
  const what = feature === "files" ? "File sharing is" : "Avatar uploads are";
  return (
    <>
      <Button
        ref={anchor}
        icon="camera"
        label={label}
        aria-expanded={enabled ? undefined : open}
        onClick={() => (enabled ? onPress() : setOpen(!open))}
      />
      {open && (
        <Notice
          anchor={anchor}
          heading={`${what} switched off here`}
          onClose={() => setOpen(false)}
        >
          {otherwise}
        </Notice>
      )}
    </>
  );
}

/** Somebody's picture, or nobody's yet. */
export function AvatarField({
  user,
  ...rest
}: Omit<PictureProps, "feature" | "otherwise" | "children"> & { user: User | null }) {
  return (
    <PictureField
      feature="avatars"
      otherwise="Your initials stand in for you, in a colour of your own."
      {...rest}
    >
      {(chosen) => (
        <Avatar
          user={chosen ? { name: "", ...user, avatar_url: chosen } : user}
          className="txt-xx-large"
        />
      )}
    </PictureField>
  );
}

/** A person's own, as they say them of themselves. */
export function NameField(props: Some) {
  return (
    <Field
      label="Name"
      name="name"
      icon="person"
      words="user_name"
      autoComplete="name"
      required
      {...props}
    />
  );
}

export function EmailField(props: Some) {
  return (
    <Field
      label="Email address"
      name="email_address"
      type="email"
      icon="email"
      words="email_address"
      autoComplete="username"
      required
      {...props}
    />
  );
}

export function PasswordField(props: Some) {
  return (
    <Field
      label="Password"
      name="password"
      type="password"
      icon="password"
      words="password"
      autoComplete="new-password"
      maxLength={PASSWORD_LENGTH}
      {...props}
    />
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

interface SwitchRowProps extends ComponentProps<"input"> {
  label: string;
  icon?: IconName;
}

/** What is switched, and its switch. */
export function SwitchRow({ icon, className = "", ...input }: SwitchRowProps) {
  return (
    <div className={`flex align-center gap ${className}`}>
      {icon && <Icon name={icon} size={20} />}
      <span className="flex-item-grow txt-align-start">{input.label}</span>
      <Switch {...input} />
    </div>
  );
}

/** How this browser takes what is typed in it. */
export function WritingHabits() {
  return (
    <div className="shade shade--row flex align-center gap">
      <Button
        icon="help"
        label="Keys and marks"
        className="txt-small"
        onClick={() => apply({ type: "viewed", item: { kind: "help" } })}
      />
      <SwitchRow
        className="flex-item-grow"
        label="Markdown while I type"
        defaultChecked={markdown.isOn()}
        onChange={(event) => markdown.turn(event.currentTarget.checked)}
      />
    </div>
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

// --- Panels and rows ---------------------------------------------------------------------------

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
      {user && <Avatar user={user} href={user.url} lazy />}
      <strong className="overflow-ellipsis min-width">{name}</strong>
      <hr className="separator" role="presentation" />
      {children}
    </li>
  );
}

/** The end of a list that goes on as soon as it comes into sight. */
export function More({ onSeen }: { onSeen: () => void }) {
  const end = useRef<HTMLDivElement>(null);
  // Only the browser knows when the end of the list comes into view.
  useEffect(() => {
    const observer = new IntersectionObserver(([entry]) => {
      if (!entry?.isIntersecting) return;
      observer.disconnect();
      onSeen();
    });
    if (end.current) observer.observe(end.current);
    return () => observer.disconnect();
  });
  return (
    <div ref={end} className="txt-align-center pad-block">
      <Spinner />
    </div>
  );
}

// --- People, and the filter over them ----------------------------------------------------------

interface PeopleProps {
  people: readonly User[];
  others?: readonly User[];
  /** Everybody is in: there is nothing to choose. */
  everybody: boolean;
  chosen: readonly number[];
  /** Whose access cannot be taken: the creator of a new room. */
  fixed?: number | undefined;
}

export function People({ people, others = [], everybody, chosen, fixed }: PeopleProps) {
  const [wanted, setWanted] = useState("");
  const [on, setOn] = useState<ReadonlySet<number>>(() => new Set(chosen));
  const matches = ({ name }: User) => folded(name).includes(wanted);
  const [first, second] = [people.filter(matches), others.filter(matches)];

  function give(id: number, access: boolean) {
    const next = new Set(on);
    if (access) next.add(id);
    else next.delete(id);
    setOn(next);
  }

  const row = (user: User) => (
    <PersonRow
      key={user.id}
      user={user}
      plain={everybody || user.id === fixed}
      on={on.has(user.id)}
      onGive={give}
    />
  );
  return (
    <>
      {people.length + others.length > FILTER_ABOVE && (
        <Filter onFilter={setWanted} left={first.length + second.length} />
      )}
      {/* Not every row is there to be asked. */}
      <input type="hidden" name="user_ids" value={[...on].join()} />
      <Rows key={`first ${wanted}`} people={first} row={row} />
      {second.length > 0 && (
        <>
          <hr className="shade__rule" />
          <Rows key={`second ${wanted}`} people={second} row={row} />
        </>
      )}
      {first.length + second.length === 0 && <p className="filter__nobody">Nobody found</p>}
    </>
  );
}

const DRAWN = 50;

/** People by the thousand: the rows are drawn as they come into sight. */
export function Rows({ people, row }: { people: readonly User[]; row: (user: User) => ReactNode }) {
  const [drawn, setDrawn] = useState(DRAWN);
  return (
    <>
      <ul>{people.slice(0, drawn).map(row)}</ul>
      {people.length > drawn && <More key={drawn} onSeen={() => setDrawn(drawn + DRAWN)} />}
    </>
  );
}

interface PersonRowProps {
  user: User;
  plain: boolean;
  on: boolean;
  onGive: (id: number, access: boolean) => void;
}

function PersonRow({ user, plain, on, onGive }: PersonRowProps) {
  return (
    <ListRow user={user} name={user.name} className="membership-item">
      {plain ? (
        <Icon name="check" size={20} />
      ) : (
        <Switch
          label={`Give ${user.name} access to this room`}
          checked={on}
          onChange={(event) => onGive(user.id, event.currentTarget.checked)}
        />
      )}
    </ListRow>
  );
}

let waiting = 0;

interface FilterProps {
  onFilter: (wanted: string) => void;
  /** How many are left of them all. */
  left: number;
}

function Filter({ onFilter, left }: FilterProps) {
  const said = useRef(left);
  // The live region is outside this tree, and says what the list has become.
  useEffect(() => {
    if (said.current === left) return;
    said.current = left;
    announce(left === 0 ? "Nobody found" : left === 1 ? "1 person" : `${left} people`);
  }, [left]);

  function look(text: string) {
    clearTimeout(waiting);
    waiting = window.setTimeout(() => onFilter(folded(text.trim())), FILTER_DELAY);
  }

  return (
    <input
      type="search"
      className="input room-access__filter"
      placeholder="Filter…"
      aria-label="Filter people by name"
      onChange={(event) => look(event.currentTarget.value)}
      // Enter would save the room.
      onKeyDown={(event) => event.key === "Enter" && event.preventDefault()}
    />
  );
}
