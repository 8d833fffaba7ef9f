/** People as others and they themselves see them, and their push devices. */
import { type ReactNode, useState } from "react";
import {
  AvatarField,
  EmailField,
  ListRow,
  NameField,
  Panel,
  PasswordField,
  Submit,
  useSubmit,
  WritingHabits,
} from "../components/forms";
import { attempt, Involvement, LinkField, PanelBar, ShareTrio, Shell } from "../components/shell";
import { Avatar, Button, Icon, LinkButton, Translate } from "../components/ui";
import help from "../help.json";
import type {
  Membership,
  Person,
  PushProblem,
  PushSubscriptionInfo,
  Room,
  ScreenProps,
  User,
} from "../lib/api";
import * as api from "../lib/api";
import { platform, signOut, visit } from "../lib/browser";
import { apply, flash, isAdministrator, useStore } from "../lib/store";
import { byName } from "../lib/text";
import { InstallBox } from "./auth";

// --- Someone -----------------------------------------------------------------------------------

export function PersonScreen({ boot }: ScreenProps<"user">) {
  const [person, setPerson] = useState(boot.data);
  const me = useStore((state) => state.me);
  const { user } = person;
  const own = user.id === me?.id;
  return (
    <Shell
      nav={
        <PanelBar previous>
          {own && <LinkButton href="/users/me/profile" icon="pencil" label="My settings" />}
        </PanelBar>
      }
    >
      <Panel className="profile">
        <div className="avatar__form">
          <Avatar user={user} className="txt-xx-large" />
          <Moderation user={user} own={own} onChange={(user) => setPerson({ ...person, user })} />
        </div>
        <h1 tabIndex={-1}>{user.name}</h1>
        {user.status === "deactivated" ? (
          <p>{user.name} has left this account.</p>
        ) : (
          <PersonDetails person={person} own={own} />
        )}
        {person.can_ban && (
          <Ban user={user} onChange={(changed) => setPerson({ ...person, user: changed })} />
        )}
      </Panel>
    </Shell>
  );
}

interface ModerationProps {
  user: User;
  own: boolean;
  onChange: (user: User) => void;
}

/** Administrators can take anybody's picture away. */
function Moderation({ user, own, onChange }: ModerationProps) {
  const administrator = useStore(isAdministrator);
  if (!(administrator && user.has_avatar) || own) return null;

  async function remove() {
    const { user: changed } = await api.removePicture(user.id);
    onChange(changed);
    apply({ type: "person_changed", user: changed, joined: false });
  }

  const label = `Remove ${user.name}’s picture`;
  return (
    <Button
      icon="minus"
      label={label}
      className="btn--negative txt-small"
      onClick={() => attempt(remove, `${label}?`)}
    />
  );
}

function PersonDetails({ person, own }: { person: Person; own: boolean }) {
  const { user, transfer_url, can_message } = person;
  const administrator = useStore(isAdministrator);
  const active = user.status === "active";
  return (
    <>
      {administrator && user.email_address && (
        <p>
          <a href={`mailto:${user.email_address}`}>{user.email_address}</a>
        </p>
      )}
      {user.bio && <p dir="auto">{user.bio}</p>}
      {can_message && active && <Ping user={user} />}
      {administrator && transfer_url && active && !own && (
        <TransferLink url={transfer_url}>
          <p className="flex align-center justify-center gap">
            <Icon name="crown" />
            Send this link to let {user.name} back in
          </p>
        </TransferLink>
      )}
    </>
  );
}

function Ping({ user }: { user: User }) {
  const [busy, setBusy] = useState(false);

  async function ping() {
    setBusy(true);
    await attempt(async () => visit((await api.createDirect([user.id])).room.path));
    setBusy(false);
  }

  return (
    <Button
      className="btn--reversed btn--wide profile__ping txt-large"
      busy={busy}
      aria-label={`Ping ${user.name}`}
      onClick={ping}
    >
      <Icon name="messages" />
    </Button>
  );
}

function Ban({ user, onChange }: { user: User; onChange: (user: User) => void }) {
  const banned = user.status === "banned";

  async function change() {
    const question = banned
      ? `Lift the ban on ${user.name}?`
      : `Ban ${user.name}? They are signed out, their messages are deleted and their network addresses are blocked.`;
    const act = banned ? api.liftBan : api.ban;
    await attempt(async () => onChange((await act(user.id)).user), question);
  }

  return (
    <Button
      icon="cancel"
      className={banned ? "btn--negative btn--wide" : "btn--wide"}
      onClick={change}
    >
      {banned ? "Remove ban" : `Ban ${user.name}`}
    </Button>
  );
}

function TransferLink({ url, children }: { url: string; children?: ReactNode }) {
  return (
    <fieldset className="transfer">
      <legend>
        <span className="flex align-center gap">
          <span className="for-screen-reader">Sign in on another device</span>
          <Icon name="laptop" size={36} />
          <Icon name="transfer" size={36} />
          <Icon name="phone" size={36} />
        </span>
      </legend>
      {children}
      <LinkField label="Sign-in link" value={url} />
      <ShareTrio
        url={url}
        title="Sign in to Campfire"
        text="This is your private sign-in link. Don’t pass it on. Use it to sign in on another device."
      />
    </fieldset>
  );
}

interface PersonRowProps {
  user: User;
  administrator: boolean;
  onChange: (user: User, changed: User | null) => void;
}

/** Someone in the list of the account, with what may be done about them. */
export function PersonRow({ user, administrator, onChange }: PersonRowProps) {
  const me = useStore((state) => state.me);
  const own = user.id === me?.id;
  const controls = administrator && user.status === "active";
  return (
    <ListRow user={user} name={user.name} data-status={user.status}>
      {controls && <Role user={user} own={own} onChange={(changed) => onChange(user, changed)} />}
      {own && (
        <LinkButton
          href="/users/me/profile"
          icon="pencil"
          label="My settings"
          className="txt-small"
        />
      )}
      {controls && !own && <Remove user={user} onRemoved={() => onChange(user, null)} />}
    </ListRow>
  );
}

function Role({
  user,
  own,
  onChange,
}: {
  user: User;
  own: boolean;
  onChange: (user: User) => void;
}) {
  const leads = user.role === "administrator";

  async function toggle() {
    const role = leads ? "member" : "administrator";
    onChange({ ...user, role });
    if (!(await attempt(() => api.changeRole(user.id, role)))) onChange(user);
  }

  return (
    <Button
      icon="crown"
      label={`Role: ${leads ? "Administrator" : "Member"}, ${user.name}`}
      className="txt-small"
      aria-pressed={leads}
      disabled={own}
      onClick={toggle}
    />
  );
}

function Remove({ user, onRemoved }: { user: User; onRemoved: () => void }) {
  async function remove() {
    const question = `Remove ${user.name} from the account for good? There is no way back.`;
    if (await attempt(() => api.removeUser(user.id), question)) onRemoved();
  }

  return (
    <Button
      icon="minus"
      label={`Remove ${user.name}`}
      className="btn--negative txt-small"
      onClick={remove}
    />
  );
}

// --- Oneself -----------------------------------------------------------------------------------

export function OwnProfile({ boot }: ScreenProps<"profile">) {
  const { shared_memberships, direct_memberships, transfer_url, user } = boot.data;
  return (
    <Shell nav={<OwnBar />} title="My settings">
      <Panel style={{ viewTransitionName: `avatar-${user.id}` }}>
        <InstallBox />
        <ProfileForm user={user} />
        <WritingHabits />
        <div className="shade shade--rooms">
          <Memberships label="Rooms" memberships={shared_memberships} />
          {direct_memberships.length > 0 && (
            <>
              <hr className="shade__rule" />
              <Memberships label="Pings" memberships={direct_memberships} />
            </>
          )}
        </div>
        {transfer_url && <TransferLink url={transfer_url} />}
      </Panel>
    </Shell>
  );
}

function OwnBar() {
  const [busy, setBusy] = useState(false);

  async function leave() {
    setBusy(true);
    if (!(await attempt(signOut))) setBusy(false);
  }

  return (
    <PanelBar>
      <Button icon="sign-out" label="Log out" busy={busy} onClick={leave} />
    </PanelBar>
  );
}

const compact = { className: "input--compact" };

function ProfileForm({ user }: { user: User }) {
  const { busy, fields, submit } = useSubmit(async (form) => {
    const { user: saved } = await api.updateProfile({
      name: String(form.get("name")),
      email_address: String(form.get("email_address")),
      password: String(form.get("password")),
      bio: String(form.get("bio")),
    });
    apply({ type: "me_changed", user: saved });
    flash("notice", "Saved.");
  });
  return (
    <form onSubmit={submit}>
      <OwnPicture />
      <NameField {...compact} defaultValue={user.name} reasons={fields.name} />
      <EmailField {...compact} defaultValue={user.email_address} reasons={fields.email_address} />
      <PasswordField
        {...compact}
        label="Change password"
        words="update_password"
        reasons={fields.password}
      />
      <Bio text={user.bio ?? ""} />
      <Submit busy={busy} />
    </form>
  );
}

const SLOWLY = "Saved. Others may see your old picture for up to half an hour.";

/** Sent as soon as it is chosen. */
function OwnPicture() {
  const me = useStore((state) => state.me);

  function show(user: User) {
    apply({ type: "person_changed", user, joined: false });
    flash("notice", SLOWLY);
  }

  async function change(picture: Blob) {
    show((await api.changePicture(picture)).user);
    return false;
  }

  const onRemove = () => attempt(async () => show((await api.removePicture("me")).user));
  return (
    <AvatarField
      label="Change picture"
      user={me}
      onChoose={change}
      removal={me?.has_avatar && { label: "Delete picture", onRemove }}
    />
  );
}

const BIO_LENGTH = 200;

function Bio({ text }: { text: string }) {
  return (
    <div className="field flex align-start gap">
      <label className="input input--actor input--compact input--top">
        <textarea
          className="input"
          name="bio"
          rows={3}
          maxLength={BIO_LENGTH}
          defaultValue={text}
          placeholder="Something about you…"
          aria-label="Something about you"
          dir="auto"
        />
        <Icon name="bio" size={24} />
      </label>
      <Translate words="bio" />
    </div>
  );
}

interface MembershipsProps {
  label: string;
  memberships: readonly (Membership & { room: Room })[];
}

/** In the order of the sidebar, which the server does not know. */
function Memberships({ label, memberships }: MembershipsProps) {
  const rooms = memberships.map(({ room }) => room);
  return (
    <ul aria-label={label}>
      {rooms.sort(byName).map((room) => (
        <MembershipRow key={room.id} room={room} />
      ))}
    </ul>
  );
}

function MembershipRow({ room }: { room: Room }) {
  const involvement = useStore((state) => state.involvements[room.id]) ?? room.involvement;
  return (
    <ListRow
      name={<a href={room.path}>{room.display_name}</a>}
      className="membership-item"
      data-involvement={involvement}
    >
      <Involvement room={room} />
    </ListRow>
  );
}

// --- Push devices ------------------------------------------------------------------------------

export function PushDevices({ boot }: ScreenProps<"push_subscriptions">) {
  const [devices, setDevices] = useState(boot.data.push_subscriptions);

  async function remove(device: PushSubscriptionInfo) {
    if (!(await attempt(() => api.removePushSubscription(device.id)))) return;
    setDevices(devices.filter(({ id }) => id !== device.id));
  }

  /** Tries a device, and shows how that ended; one that its service no longer knows is gone. */
  async function test(device: PushSubscriptionInfo) {
    if (await attempt(() => api.testPushSubscription(device.id))) flash("notice", "Sent.");
    await attempt(async () => setDevices((await api.pushSubscriptions()).push_subscriptions));
  }

  return (
    <Shell nav={<PanelBar back="/users/me/profile" />}>
      <Panel className="panel--wide">
        <h1 className="txt-large" tabIndex={-1}>
          Push devices
        </h1>
        <ul className="shade margin-block-start">
          {devices.map((device) => (
            <Device
              key={device.id}
              device={device}
              onTest={() => test(device)}
              onRemove={() => remove(device)}
            />
          ))}
          {devices.length === 0 && <li>No device gets notifications yet.</li>}
        </ul>
      </Panel>
    </Shell>
  );
}

interface DeviceProps {
  device: PushSubscriptionInfo;
  onTest: () => void;
  onRemove: () => void;
}

function Device({ device, onTest, onRemove }: DeviceProps) {
  const name = deviceName(device.user_agent);

  return (
    <li className="push-device flex align-center gap">
      <div className="min-width flex-item-grow">
        <strong>{name}</strong>
        <p className="txt-small overflow-ellipsis">{device.endpoint}</p>
        {device.last_result && <p className="txt-small">{lastResult(device.last_result)}</p>}
      </div>
      <Button
        icon="bell-everything"
        label={`Send test notification to ${name}`}
        className="btn--reversed txt-small"
        onClick={onTest}
      />
      <Button
        icon="minus"
        label={`Remove this device, ${name}`}
        className="btn--negative txt-small"
        onClick={onRemove}
      />
    </li>
  );
}

const PUSH_PROBLEMS: Record<PushProblem, string> = {
  keys: "its service refused Campfire's keys. Remove this device and turn notifications on anew.",
  too_many: "its service got too many notifications and asks for a pause.",
  too_large: "its service found the notification too large.",
  no_network: "its service could not be reached.",
  timeout: "its service did not answer in time.",
  refused: "its service refused the notification.",
};

function lastResult({ at, status, problem }: NonNullable<PushSubscriptionInfo["last_result"]>) {
  const when = new Date(at).toLocaleString();
  if (problem === null) return `Told on ${when}.`;
  return `Not told on ${when}: ${PUSH_PROBLEMS[problem]}${status ? ` (${status})` : ""}`;
}

/** What a person calls the browser that says this of itself. */
function deviceName(agent: string): string {
  const { browser, system } = platform(agent);
  const version = /(?:Edg|Firefox|FxiOS|Chrome|CriOS|Version)\/(\d+)/.exec(agent)?.[1] ?? "";
  return `${help.browsers[browser]} ${version} on ${help.systems[system]}`.replace("  ", " ");
}
