/**
 * Coming in: first run, sign in, join, and the link that signs in by itself; and what the forms of
 * all these screens are made of.
 */
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
import { Shell } from "../components/shell";
import {
  Avatar,
  addPictures,
  Button,
  ComingSoon,
  Drawing,
  type Face,
  Icon,
  type IconName,
  LinkButton,
  Spinner,
  Translate,
  type TranslationKey,
} from "../components/ui";
import type { ScreenProps, User } from "../lib/api";
import * as api from "../lib/api";
import { visit } from "../lib/browser";
import { failed, flash, unflash, useStore } from "../lib/store";
import { sentenceOf } from "../lib/trouble";
import lanyard from "../pictures/lanyard.svg?raw";
import { type Trouble, TroubleScreen } from "./help";

/** Comes with these screens: fetched by itself it would take the entry apart. */
export { ErrorScreen } from "./help";

addPictures(
  import.meta.glob<string>(
    [
      "/src/pictures/icons/{arrow-right,error-failed,error-missing,error-server}.svg",
      "/node_modules/@phosphor-icons/core/assets/bold/{arrows-left-right,broom,caret-right,key,sign-out,sliders-horizontal,toggle-right}-bold.svg",
      "/node_modules/@phosphor-icons/core/assets/fill/{crown,device-mobile,envelope-simple,gear,key,laptop,lifebuoy,lock}-fill.svg",
      "/node_modules/@phosphor-icons/core/assets/fill/{notebook,palette,password,robot,user,users-four}-fill.svg",
    ],
    { eager: true, exhaustive: true, import: "default", query: "?raw&later" },
  ),
);

type Newcomer = Parameters<typeof api.firstRun>[0];

const PASSWORD_LENGTH = 72;

function comeIn(answer: { redirect_to: string }): void {
  visit(answer.redirect_to, { replace: true });
}

// --- First run and joining ---------------------------------------------------------------------

export function FirstRun(_props: ScreenProps<"first_run">) {
  async function setUp(person: Newcomer) {
    try {
      comeIn(await api.firstRun(person));
    } catch (problem) {
      if (!(problem instanceof api.ApiError) || problem.code !== "already_set_up") throw problem;
      visit("/", { replace: true });
    }
  }

  return (
    <Shell>
      <Badge legend={<h1 tabIndex={-1}>Set up Campfire</h1>}>
        <NewcomerForm icon="arrow-right" onSend={setUp} />
      </Badge>
    </Shell>
  );
}

/** The address with which somebody tried to join who is in already. */
let known = "";

export function Join({ boot }: ScreenProps<"join">) {
  async function signUp(person: Newcomer) {
    try {
      comeIn(await api.join(boot.data.join_code, person));
    } catch (problem) {
      if (!(problem instanceof api.ApiError) || !problem.redirectTo) throw problem;
      known = person.email_address;
      visit(problem.redirectTo);
    }
  }

  return (
    <Shell nav={<SignInLink />}>
      <Badge
        legend={
          <span className="flex align-center gap">
            <AccountLogo className="account-logo--small" />
            <h1 tabIndex={-1}>{boot.account?.name}</h1>
          </span>
        }
      >
        <NewcomerForm icon="check" onSend={signUp} />
      </Badge>
      <HelpAndVersion />
    </Shell>
  );
}

function SignInLink() {
  return (
    <span className="topbar__end">
      <LinkButton href="/session/new" icon="sign-in" label="Sign in" />
    </span>
  );
}

/** A name badge on its lanyard. */
function Badge({ legend, children }: { legend: ReactNode; children: ReactNode }) {
  return (
    <div className="nametag">
      <div className="nametag__lanyard" aria-hidden="true">
        <Drawing source={lanyard} />
      </div>
      <div className="nametag__inner">
        <fieldset>
          <legend>{legend}</legend>
          {children}
        </fieldset>
      </div>
    </div>
  );
}

interface NewcomerProps {
  icon: "arrow-right" | "check";
  onSend: (person: Newcomer) => Promise<void>;
}

function NewcomerForm({ icon, onSend }: NewcomerProps) {
  const { busy, fields, submit } = useSubmit((form) =>
    onSend({
      name: String(form.get("name")),
      email_address: String(form.get("email_address")),
      password: String(form.get("password")),
    }),
  );
  return (
    <form onSubmit={submit}>
      <div className="avatar__form">
        <ComingSoon label="Choose a picture" heading="Avatar uploads coming in v2.0">
          Until then your initials stand in for you, in a colour of your own.
        </ComingSoon>
        <Avatar user={null} className="txt-xx-large" />
      </div>
      <Field
        label="Name"
        name="name"
        icon="person"
        words="user_name"
        autoComplete="name"
        reasons={fields.name}
        required
        autoFocus
      />
      <EmailField reasons={fields.email_address} label="Email address" />
      <PasswordField reasons={fields.password} label="Password" autoComplete="new-password" />
      <Submit icon={icon} busy={busy} />
    </form>
  );
}

type CredentialProps = ComponentProps<typeof Field>;

function EmailField(props: CredentialProps) {
  return (
    <Field
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

function PasswordField(props: CredentialProps) {
  return (
    <Field
      name="password"
      type="password"
      icon="password"
      words="password"
      maxLength={PASSWORD_LENGTH}
      required
      {...props}
    />
  );
}

// --- Signing in --------------------------------------------------------------------------------

export function SignIn({ boot }: ScreenProps<"sign_in">) {
  const [state, submit] = useSignIn();
  const email = new URLSearchParams(location.search).get("email_address") ?? "";
  return (
    <Shell>
      <Panel key={state.tries} className={state.refused ? "shake" : ""}>
        <AccountLogo className="txt-xx-large" />
        <fieldset>
          <legend>
            <h1 tabIndex={-1}>{boot.account?.name ?? "Campfire"}</h1>
          </legend>
          <form onSubmit={submit}>
            <EmailField
              label="Enter your email address"
              defaultValue={state.email ?? email}
              readOnly={state.busy}
              autoFocus={!email}
            />
            {email !== "" && email === known && (
              <p role="status">That address is known here already: sign in with it.</p>
            )}
            <PasswordField
              label="Enter your password"
              autoComplete="current-password"
              readOnly={state.busy}
              autoFocus={email !== ""}
              reasons={state.refused ? [] : undefined}
              aria-describedby={state.refused ? "sign-in-refused" : undefined}
            />
            {state.refused && (
              <p id="sign-in-refused" className="txt-negative" role="alert">
                {state.refused}
              </p>
            )}
            <Submit icon="arrow-right" label="Go" busy={state.busy} />
          </form>
        </fieldset>
      </Panel>
      <HelpAndVersion />
    </Shell>
  );
}

interface Attempt {
  busy: boolean;
  refused: string | null;
  email: string | null;
  /** Makes the panel shake anew at every refusal. */
  tries: number;
}

function useSignIn() {
  const [state, setState] = useState<Attempt>({
    busy: false,
    refused: null,
    email: null,
    tries: 0,
  });

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    if (state.busy) return;
    const form = new FormData(event.currentTarget);
    const email = String(form.get("email_address"));
    setState({ ...state, busy: true, refused: null, email });
    try {
      comeIn(await api.signIn(email, String(form.get("password"))));
    } catch (problem) {
      const refused = sentenceOf(problem);
      flushSync(() => setState({ busy: false, refused, email, tries: state.tries + 1 }));
      document.querySelector<HTMLInputElement>("input[name=password]")?.focus();
      flash("alert", refused);
    }
  }

  return [state, submit] as const;
}

function AccountLogo({ className = "" }: { className?: string }) {
  const account = useStore((state) => state.account);
  return (
    <span className={`account-logo center ${className}`}>
      <img src={account?.logo_url ?? "/account/logo"} width={108} height={108} alt="" />
    </span>
  );
}

function HelpAndVersion() {
  const contact = useStore((state) => state.help_contact);
  return (
    <div className="signup__footer">
      {contact && (
        <a className="btn" href={`mailto:${contact.email_address}`}>
          <Icon name="lifebuoy" />
          {contact.email_address}
        </a>
      )}
      <Version />
    </div>
  );
}

// --- Signing in by a link ----------------------------------------------------------------------

export function Transfer({ boot }: ScreenProps<"transfer">) {
  const [refused, setRefused] = useState<Trouble | null>(null);
  const begun = useRef(false);

  // Opening the page is the act itself, and may happen only once.
  useEffect(() => {
    if (begun.current) return;
    begun.current = true;
    api
      .redeemTransfer(String(boot.params.id))
      .then(comeIn)
      .catch((problem) => setRefused(usedUp(problem)));
  }, [boot.params.id]);

  if (refused) return <TroubleScreen {...refused} />;
  return (
    <Shell title="Sign in">
      <Panel className="pad">
        <p role="status">
          <Spinner label="" /> Signing you in…
        </p>
      </Panel>
    </Shell>
  );
}

/** A link that signs in works once; whoever could not reach the server may still use it. */
function usedUp(problem: unknown): Trouble {
  if (problem instanceof api.ApiError && problem.status < 500 && problem.status !== 429)
    return {
      icon: "error-failed",
      words: "This link was used or has expired.",
      advice: "Ask for a new one.",
      signIn: true,
    };
  return {
    icon: "error-failed",
    words: sentenceOf(problem),
    advice: "",
    again: true,
    signIn: true,
  };
}

export function Version() {
  const version = useStore((state) => state.version);
  return (
    <p className="txt-faint">
      Campfire version <span className="version-badge">{version}</span>
    </p>
  );
}

// --- Forms -------------------------------------------------------------------------------------

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
