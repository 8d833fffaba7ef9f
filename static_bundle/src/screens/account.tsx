/** The account: its name and people, its bots, and its own styles. */
import { type ComponentProps, type KeyboardEvent, useRef, useState } from "react";
import { FILES_OFF } from "../components/files";
import {
  Field,
  More,
  Panel,
  PictureField,
  Submit,
  SwitchRow,
  useSubmit,
} from "../components/forms";
import { attempt, CopyLine, JoinLink, PanelBar, Shell } from "../components/shell";
import { Avatar, Button, Drawing, Icon, LinkButton, Translate } from "../components/ui";
import type { Account, Bot, ScreenProps, User, UserPage } from "../lib/api";
import * as api from "../lib/api";
import { visit } from "../lib/browser";
import { apply, failed, flash, isAdministrator, useStore } from "../lib/store";
import { limitInWords, sizeInWords } from "../lib/text";
import { AccountLogo, Version } from "./auth";
import { PersonRow } from "./people";

// --- The account -------------------------------------------------------------------------------

export function AccountSettings({ boot }: ScreenProps<"account_edit">) {
  const administrator = useStore(isAdministrator);
  const [account, setAccount] = useState(boot.data.account);

  function change(next: Account) {
    setAccount({ ...account, ...next }); // what is stored is told with the page alone
    apply({ type: "account_changed", account: next });
  }

  return (
    <Shell
      nav={<PanelBar>{administrator && <AdministratorLinks />}</PanelBar>}
      title="Account settings"
      footer={<Version />}
    >
      <Panel style={{ viewTransitionName: "account-settings" }}>
        {administrator ? (
          <AccountForm account={account} onChange={change} />
        ) : (
          <>
            <AccountLogo className="txt-xx-large" />
            <h2 className="account__name txt-x-large">{account.name}</h2>
          </>
        )}
        <div className="shade shade--people">
          <Invitation account={account} onChange={change} administrator={administrator} />
          <hr className="shade__rule" />
          <People first={boot.data} administrator={administrator} />
          {account.storage && <Storage {...account.storage} />}
        </div>
      </Panel>
    </Shell>
  );
}

function AdministratorLinks() {
  return (
    <>
      <LinkButton
        href="/account/bots"
        icon="bot"
        label="Chat bots"
        style={{ viewTransitionName: "chat-bots" }}
      />
      <LinkButton
        href="/account/custom_styles/edit"
        icon="art"
        label="Custom styles"
        style={{ viewTransitionName: "custom-styles" }}
      />
    </>
  );
}

interface AccountProps {
  account: Account;
  onChange: (account: Account) => void;
}

function AccountForm({ account, onChange }: AccountProps) {
  const { busy, fields, submit } = useSubmit(async (form) => {
    onChange((await api.updateAccount({ name: String(form.get("name")) })).account);
    flash("notice", "Saved.");
  });
  return (
    <>
      <Logo account={account} onChange={onChange} />
      <form onSubmit={submit} className="account-name">
        <Field
          label="Name of this account"
          name="name"
          words="account_name"
          autoComplete="organization"
          maxLength={255}
          defaultValue={account.name}
          reasons={fields.name}
          required
        />
        <Button type="submit" icon="check" label="Save" className="btn--reversed" busy={busy} />
      </form>
      <Restriction account={account} onChange={onChange} />
    </>
  );
}

/** Sent as soon as it is chosen. */
function Logo({ account, onChange }: AccountProps) {
  function show(next: Account) {
    onChange(next);
    flash("notice", "Saved.");
  }

  async function change(picture: Blob) {
    show((await api.changeLogo(picture)).account);
    return false;
  }

  const onRemove = () => attempt(async () => show((await api.removeLogo()).account));
  return (
    <PictureField
      label="Change logo"
      feature="files"
      otherwise="The account keeps the mark it has."
      onChoose={change}
      removal={account.has_logo && { label: "Delete logo", onRemove }}
    >
      {(chosen) => <AccountLogo className="txt-xx-large" chosen={chosen} />}
    </PictureField>
  );
}

/** Saves as soon as it is switched. */
function Restriction({ account, onChange }: AccountProps) {
  const restricted = account.settings.restrict_room_creation_to_administrators;

  async function restrict(on: boolean) {
    const settings = { restrict_room_creation_to_administrators: on };
    onChange({ ...account, settings });
    const saved = await attempt(async () =>
      onChange((await api.updateAccount({ settings })).account),
    );
    if (!saved) onChange(account);
  }

  return (
    <SwitchRow
      className="shade shade--row"
      icon="crown"
      label="Only administrators can create rooms"
      checked={restricted}
      onChange={(event) => restrict(event.currentTarget.checked)}
    />
  );
}

function Invitation({
  account,
  onChange,
  administrator,
}: AccountProps & { administrator: boolean }) {
  async function renew() {
    const question = "Make a new join link? The old one stops working.";
    await attempt(async () => onChange({ ...account, ...(await api.newJoinCode()) }), question);
  }

  return (
    <div className="invitation">
      <strong>Invite people with this link</strong>
      <JoinLink url={account.join_url}>
        {administrator && <Button icon="refresh" label="New link" onClick={renew} />}
      </JoinLink>
    </div>
  );
}

const LOW = 512 * 1024 * 1024;

/** How much room the files take, and how much is left. */
function Storage({ bytes, free_bytes, quota_bytes }: NonNullable<Account["storage"]>) {
  const full = free_bytes < LOW || (quota_bytes !== null && bytes >= quota_bytes);
  const quota = quota_bytes === null ? "" : ` of ${limitInWords(quota_bytes)}`;
  return (
    <p className={`txt-small txt-align-center margin-block-start${full ? " txt-negative" : ""}`}>
      Files use {sizeInWords(bytes)}
      {quota}; {sizeInWords(free_bytes)} are free on this server
    </p>
  );
}

// --- Its people --------------------------------------------------------------------------------

const isLeader = (user: User) => user.role === "administrator" && user.status === "active";

function People({ first, administrator }: { first: UserPage; administrator: boolean }) {
  const [{ users, next_page }, setPage] = useState(first);
  const row = (user: User) => (
    <PersonRow key={user.id} user={user} administrator={administrator} onChange={replace} />
  );

  /** Null: gone from the account. Changed people stay where they are until the next visit. */
  function replace(user: User, changed: User | null) {
    setPage((page) => ({
      ...page,
      users: page.users.flatMap((other) => (other.id === user.id ? (changed ?? []) : other)),
    }));
  }

  async function more(page: number) {
    const next = await api.accountUsers(page);
    setPage((old) => ({ ...next, users: [...old.users, ...next.users] }));
  }

  const others = users.filter((user) => !isLeader(user));
  return (
    <>
      <ul aria-label="Administrators">{users.filter(isLeader).map(row)}</ul>
      {others.length > 0 && (
        <>
          <hr className="shade__rule" />
          <ul aria-label="Members">{others.map(row)}</ul>
        </>
      )}
      {next_page !== null && <More key={next_page} onSeen={() => attempt(() => more(next_page))} />}
    </>
  );
}

// --- Bots --------------------------------------------------------------------------------------

export function Bots({ boot }: ScreenProps<"bots">) {
  return (
    <Shell nav={<PanelBar back="/account/edit" />}>
      <Panel className="panel--wide" style={{ viewTransitionName: "chat-bots" }}>
        <span className="panel__button">
          <Translate words="chat_bots" />
        </span>
        <h1 tabIndex={-1}>Chat bots</h1>
        <p>Bots let other sites and services post into your rooms.</p>
        <a href="/account/bots/new" className="btn btn--reversed bots__add" title="Add a chat bot">
          <Icon name="bot" />
          <Icon name="add" />
          <span className="for-screen-reader">Add a chat bot</span>
        </a>
        {boot.data.bots.map((bot) => (
          <BotCard key={bot.id} bot={bot} />
        ))}
      </Panel>
    </Shell>
  );
}

function BotCard({ bot }: { bot: Bot }) {
  const { files } = useStore((state) => state.features);
  return (
    <section className="shade bot" style={{ viewTransitionName: `chat-bot-${bot.id}` }}>
      <div className="flex align-center gap">
        <Avatar user={bot} href={bot.url} />
        <h2 className="txt-large flex-item-grow overflow-ellipsis">{bot.name}</h2>
        <LinkButton
          href={`/account/bots/${bot.id}/edit`}
          icon="pencil"
          label={`Edit ${bot.name}`}
        />
      </div>
      {bot.rooms.map((room) => (
        <fieldset key={room.id} className="bot__room">
          <legend>{room.name}</legend>
          <CopyLine icon="messages-outline" label={`Post text to ${room.name}`}>
            {`curl -d 'Hello!' ${room.messages_url}`}
          </CopyLine>
          <CopyLine
            icon="attachment"
            label={`Post a file to ${room.name}`}
            off={!files && FILES_OFF}
          >
            {`curl -F "attachment=@/path/to/file" ${room.messages_url}`}
          </CopyLine>
        </fieldset>
      ))}
    </section>
  );
}

export function NewBot(_props: ScreenProps<"bot_new">) {
  return (
    <Shell nav={<PanelBar back="/account/bots" />} title="New chat bot">
      <Panel>
        <BotForm onSave={(bot) => api.createBot(bot)} />
      </Panel>
    </Shell>
  );
}

export function EditBot({ boot }: ScreenProps<"bot_edit">) {
  const { bot } = boot.data;

  async function remove() {
    const question = "Remove this bot for good? There is no way back.";
    if (await attempt(() => api.removeBot(bot.id), question)) visit("/account/bots");
  }

  async function renew() {
    const question = "Make a new key? Whatever uses the old one stops working until you update it.";
    if (await attempt(() => api.newBotKey(bot.id), question)) visit("/account/bots");
  }

  return (
    <Shell nav={<PanelBar back="/account/bots" />} title="Edit bot">
      <Panel style={{ viewTransitionName: `chat-bot-${bot.id}` }}>
        <BotForm bot={bot} onSave={(change) => api.updateBot(bot.id, change)} />
        <hr className="separator bot__rule" />
        <div className="flex justify-space-between">
          <PairButton label="Delete this chat bot" onClick={remove} icon="trash" second="bot" />
          <PairButton label="Make a new key" onClick={renew} icon="refresh" second="key" />
        </div>
      </Panel>
    </Shell>
  );
}

type PairProps = ComponentProps<typeof Button> & { second: "bot" | "key" };

function PairButton({ second, ...face }: PairProps) {
  return (
    <Button className="btn--negative" title={face.label} {...face}>
      <Icon name={second} />
    </Button>
  );
}

const HEARD = {
  messages: "Every message in its rooms",
  edits: "Edits",
  deletions: "Deletions",
  boosts: "Boosts",
  members: "Who comes and goes",
};

/** What a bot is told besides its name and its pings: nothing, where it has no address. */
function Hearing({ bot, off }: { bot: Bot | undefined; off: boolean }) {
  return (
    <fieldset className="bot__room" disabled={off}>
      <legend>Also tell it of</legend>
      {Object.entries(HEARD).map(([event, label]) => (
        <SwitchRow
          key={event}
          label={label}
          name="events"
          value={event}
          defaultChecked={bot?.events.includes(event)}
        />
      ))}
      {bot?.webhook_secret && (
        <CopyLine icon="key" label="Secret that signs these calls">
          {bot.webhook_secret}
        </CopyLine>
      )}
    </fieldset>
  );
}

interface BotFormProps {
  bot?: Bot;
  onSave: (bot: api.BotChange) => Promise<{ bot: Bot }>;
}

function BotForm({ bot: first, onSave }: BotFormProps) {
  const [bot, setBot] = useState(first);
  const [address, setAddress] = useState(first?.webhook_url ?? "");
  const picture = useRef<Blob | null>(null);
  const { busy, fields, submit } = useSubmit(async (form) => {
    const { bot: saved } = await onSave({
      name: String(form.get("name")),
      webhook_url: String(form.get("webhook_url")),
      events: form.getAll("events").map(String),
    });
    // Without its picture it is there all the same.
    if (picture.current) await api.changeBotPicture(saved.id, picture.current).catch(failed);
    visit("/account/bots");
  });
  const remove = () => attempt(async () => bot && setBot((await api.removeBotPicture(bot.id)).bot));
  return (
    <form onSubmit={submit}>
      <PictureField
        label="Choose a picture"
        feature="avatars"
        otherwise="Bots share this face."
        onChoose={(chosen) => {
          picture.current = chosen;
          return true;
        }}
        removal={bot?.has_avatar && { label: "Delete bot’s picture", onRemove: remove }}
      >
        {(chosen) =>
          bot || chosen ? (
            <Avatar
              user={{ name: "", avatar_url: "", ...bot, ...(chosen && { avatar_url: chosen }) }}
              className="txt-xx-large"
            />
          ) : (
            <figure className="avatar txt-xx-large" aria-hidden="true">
              <Drawing name="robot" />
            </figure>
          )
        }
      </PictureField>
      <Field
        label="Name of the bot"
        name="name"
        icon="bot"
        words="bot_name"
        maxLength={255}
        defaultValue={bot?.name}
        reasons={fields.name}
        required
      />
      <Field
        label="Webhook address"
        name="webhook_url"
        type="url"
        icon="web"
        words="webhook_url"
        value={address}
        onChange={(event) => setAddress(event.currentTarget.value)}
        reasons={fields.webhook_url}
      />
      <Hearing bot={bot} off={!address.trim()} />
      <Submit busy={busy} />
    </form>
  );
}

// --- Custom styles -----------------------------------------------------------------------------

export function CustomStyles({ boot }: ScreenProps<"custom_styles">) {
  const { busy, fields, submit } = useSubmit(async (form) => {
    const { custom_styles } = await api.updateCustomStyles(String(form.get("custom_styles")));
    wear(custom_styles);
    flash("notice", "Saved.");
  });

  function save(event: KeyboardEvent<HTMLTextAreaElement>) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    event.currentTarget.form?.requestSubmit();
  }

  const refused = fields.custom_styles?.join(", ");
  return (
    <Shell nav={<PanelBar back="/account/edit" />}>
      <Panel className="panel--wide" style={{ viewTransitionName: "custom-styles" }}>
        <span className="panel__button">
          <Translate words="custom_styles" />
        </span>
        <h1 tabIndex={-1}>Custom CSS</h1>
        <p className="flex flex-wrap align-center justify-center gap">
          <Icon name="alert" />
          Add styles of your own. Careful: it is easy to break things.
        </p>
        <form onSubmit={submit}>
          <textarea
            className="input input--code"
            name="custom_styles"
            rows={16}
            maxLength={65_536}
            defaultValue={boot.data.custom_styles}
            aria-label="Custom CSS"
            aria-invalid={refused ? true : undefined}
            aria-describedby={refused ? "custom-styles-reason" : undefined}
            autoCapitalize="off"
            autoCorrect="off"
            spellCheck={false}
            onKeyDown={save}
          />
          {refused && (
            <p id="custom-styles-reason" className="txt-small txt-negative">
              {refused}
            </p>
          )}
          <Submit busy={busy} />
        </form>
      </Panel>
    </Shell>
  );
}

/** The page wears the new styles at once, except where they were asked to stay away. */
function wear(css: string) {
  if (new URLSearchParams(location.search).has("plain")) return;
  const style = document.createElement("style");
  style.id = "custom-styles";
  style.textContent = css;
  document.getElementById("custom-styles")?.remove();
  document.head.append(style);
}
