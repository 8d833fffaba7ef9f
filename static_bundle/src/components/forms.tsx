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
import { failed, unflash } from "../lib/store";
import { ComingSoon, Translate, type TranslationKey } from "./popover";
import { Avatar, Button, type Face, Icon, type IconName, Spinner } from "./ui";

const PASSWORD_LENGTH = 72;

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

/** Somebody's picture, or nobody's yet, and what there is to say about changing it. */
export function PictureField({ label, user }: { label: string; user: User | null }) {
  return (
    <div className="avatar__form">
      <ComingSoon label={label} heading="Avatar uploads coming in v2.0">
        Until then your initials stand in for you, in a colour of your own.
      </ComingSoon>
      <Avatar user={user} className="txt-xx-large" />
    </div>
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
