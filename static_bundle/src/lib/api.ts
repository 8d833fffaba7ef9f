/**
 * The server, as this client knows it: the shapes on the wire (their own snake_case names), and one
 * function per endpoint. Every call rejects with an ApiError (the server answered "no") or a
 * NetworkError (no answer), and with nothing else.
 */
import { ApiError, type Fields, NetworkError, refusal } from "./trouble";

// --- People, rooms, messages ------------------------------------------------------------------

export type Role = "member" | "administrator" | "bot";
type Status = "active" | "deactivated" | "banned";
export type RoomType = "open" | "closed" | "direct";
export type Involvement = "invisible" | "nothing" | "mentions" | "everything";

export interface User {
  id: number;
  name: string;
  initials: string;
  title: string;
  bio: string | null;
  role: Role;
  status: Status;
  avatar_url: string;
  /** A picture of their own, and not their initials. */
  has_avatar?: boolean;
  url: string;
  /** Only for administrators, and for people about themselves. */
  email_address?: string;
}

export interface Account {
  name: string;
  join_code: string;
  join_url: string;
  logo_url: string;
  has_logo?: boolean;
  settings: { restrict_room_creation_to_administrators: boolean };
  can_create_rooms: boolean;
  updated_at: string;
  /** Only for administrators. */
  storage?: { bytes: number; free_bytes: number; quota_bytes: number | null };
}

/** What someone signed out may know of the account. */
export type AnonymousAccount = Pick<Account, "name" | "logo_url" | "has_logo">;
/** At 192 pixels, a quarter of the bytes: for at most 64, three times as dense. */
export const smallLogo = ({ logo_url }: AnonymousAccount): string => `${logo_url}&size=small`;

export interface Membership {
  involvement: Involvement;
  involvement_label: string;
  next_involvement: Involvement;
}

export interface Room extends Membership {
  id: number;
  type: RoomType;
  /** Null for direct rooms; `display_name` never is. */
  name: string | null;
  display_name: string;
  /** What it is about. */
  topic: string | null;
  creator_id: number;
  created_at: string;
  updated_at: string;
  updated_at_ms: number;
  unread: boolean;
  starred: boolean;
  /** Of the first message not read. */
  unread_since_ms: number | null;
  /** How often I am named in what I have not read. */
  mentions: number;
  can_administer: boolean;
  invitation: boolean;
  /** Direct rooms only: everybody but the viewer (the viewer, when alone). */
  members: User[] | null;
  streams: { messages: string };
  path: string;
}

export interface Boost {
  id: number;
  message_id: number;
  content: string;
  emoji_only: boolean;
  booster: User;
  created_at: string;
}

export interface Sound {
  name: string;
  url: string;
  text: string | null;
  image: { url: string; width: number; height: number } | null;
}

type Measures = "width" | "height" | "duration_ms" | "still_width" | "still_height";
type Addresses = "url" | "download_url" | "still_url";

/** The file of a message; it has no addresses while its bytes are `missing`. */
export interface Attachment
  extends Record<Measures, number | null>,
    Record<Addresses, string | null> {
  id: number;
  filename: string;
  content_type: string;
  kind: "image" | "video" | "audio" | "file";
  byte_size: number;
  animated: boolean;
  missing: boolean;
}

/** What a page says of itself. */
export type Preview = Record<"url" | "title", string> &
  Record<"description" | "image", string | null> &
  Record<"image_width" | "image_height", number | null> & { portrait: boolean };

export interface Message {
  id: number;
  client_message_id: string;
  room_id: number;
  creator: User;
  created_at: string;
  updated_at: string;
  timestamp: number;
  updated_at_ms: number;
  sort_value: number;
  edited_at_ms?: number | null;
  edited_by?: Pick<User, "id" | "name"> | null;
  content_type: "text" | "sound" | "attachment";
  body_html: string;
  plain_text: string;
  emoji_only: boolean;
  sound: Sound | null;
  attachment?: Attachment | null;
  mentionee_ids: number[];
  /** It names everybody in the room. */
  to_everyone?: boolean;
  links: string[];
  previews?: Preview[];
  boosts: Boost[];
  path: string;
  /** Absent from broadcasts: both depend on who looks. */
  url?: string;
  can_edit?: boolean;
}

export type MessagePage = Record<"has_before" | "has_after", boolean> & {
  messages: Message[];
  highlighted_id: number | null;
};
export type RoomPage = { room: Room; messages: MessagePage; loaded_at_ms: number } & {
  /** By others, since I left; it counts to 1,000. */
  first_unread?: { message_id: number; count: number } | null;
};

export interface Sidebar {
  directs: Room[];
  shared: Room[];
  placeholders: User[];
  can_create_rooms: boolean;
  total_unread: number;
}

type SearchHit = Message & Record<"room_name" | "highlight_html", string>;

export interface Search {
  query: string | null;
  messages: SearchHit[];
  has_before: boolean;
  recent_searches: { id: number; query: string; updated_at: string }[];
  return_to_room_id: number | null;
}

export type RoomMembers = { room: Room } & Record<"selected" | "unselected", User[]>;

export interface UserPage {
  users: User[];
  page: number;
  next_page: number | null;
}

interface Profile {
  user: User;
  shared_memberships: (Membership & { room: Room })[];
  direct_memberships: (Membership & { room: Room })[];
  transfer_url: string | null;
  transfer_expires_at: string | null;
  transfer_qr_path: string | null;
}

export interface Person {
  user: User;
  transfer_url: string | null;
  can_ban: boolean;
  can_message: boolean;
}

export interface Bot extends User {
  bot_key: string;
  webhook_url: string | null;
  events: string[];
  webhook_secret: string | null;
  rooms: { id: number; name: string; messages_url: string }[];
}

export interface PushSubscriptionInfo {
  id: number;
  endpoint: string;
  user_agent: string;
  created_at: string;
  updated_at: string;
  last_result: { at: string; status: number | null; problem: PushProblem | null } | null;
}

export type PushProblem = "keys" | "too_many" | "too_large" | "no_network" | "timeout" | "refused";

export interface Suggestion {
  name: string;
  name_html: string;
  /** The person's id. */
  value: number;
  avatar_url: string;
  sgid: string;
  /** What tells two of one name apart. */
  about: string;
}

// --- Boot data --------------------------------------------------------------------------------

/** What each page is given besides the common part; exactly the JSON of the endpoints it names. */
export interface PageData {
  room: RoomPage & { sidebar: Sidebar };
  welcome: { sidebar: Sidebar };
  sidebar: { sidebar: Sidebar };
  searches: { search: Search; return_to_room_id: number | null; sidebar?: Sidebar };
  room_new: { users: User[]; default_name: string; can_create: boolean };
  room_edit: RoomMembers;
  direct_new: Record<string, never>;
  direct_edit: { room: Room };
  account_edit: { account: Account } & UserPage;
  bots: { bots: Bot[] };
  bot_new: Record<string, never>;
  bot_edit: { bot: Bot };
  custom_styles: { custom_styles: string };
  user: Person;
  profile: Profile;
  push_subscriptions: { push_subscriptions: PushSubscriptionInfo[] };
  first_run: Record<string, never>;
  sign_in: Record<string, never>;
  join: { join_code: string };
  transfer: Record<string, never>;
  error: { message: string; code?: string };
}

export type PageName = keyof PageData;

/** The numbers and words the server took from the path, e.g. `{room_id: 5, message_id: null}`. */
export type Params = Readonly<Record<string, string | number | null | undefined>>;

export type Features = Record<"files" | "avatars" | "opengraph", boolean> & {
  max_file_bytes: number;
};

export interface Boot<Page extends PageName = PageName> {
  page: Page;
  status: number;
  params: Params;
  account: Account | AnonymousAccount | null;
  current_user: User | null;
  csrf_token: string;
  vapid_public_key: string;
  version: string;
  features: Features;
  cable_url: string;
  streams: { rooms: string; user_rooms: string } | null;
  last_room_id: number | null;
  server_time_ms: number;
  flash: { notice: string | null; alert: string | null };
  help_contact?: { name: string; email_address: string } | null;
  /** On signed-in pages. */
  sounds?: Sound[];
  data: PageData[Page];
}

/** What a screen component is given: `({ boot }: ScreenProps<"room">)`. */
export interface ScreenProps<Page extends PageName> {
  boot: Boot<Page>;
}

type Redirect = Record<"redirect_to" | "csrf_token", string>;

// --- Asking -----------------------------------------------------------------------------------

export { ApiError, type Fields, NetworkError };

const [REQUEST_TIMEOUT, PICTURE_TIMEOUT] = [10_000, 60_000];

type Call = { method?: string; body?: object | undefined };

const session = {
  csrf: "",
  /** The X-Version of the newest answer; empty before the first. */
  version: "",
  failed: (_error: ApiError): void => undefined,
};

export const token = (): string => session.csrf;
export function setToken(csrf: string): void {
  session.csrf = csrf;
}

export function serverVersion(): string {
  return session.version;
}

/** Told about every refusal, before the caller is; main.tsx sends 401 to sign-in from here. */
export function onRefusal(tell: (error: ApiError) => void): void {
  session.failed = tell;
}

async function send(path: string, { method = "GET", body }: Call): Promise<Response> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = session.csrf;
  const raw = body instanceof Blob;
  if (body) headers["Content-Type"] = raw ? body.type : "application/json";
  try {
    const response = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      signal: AbortSignal.timeout(raw ? PICTURE_TIMEOUT : REQUEST_TIMEOUT),
      ...(body ? { body: raw ? body : JSON.stringify(body) } : {}),
    });
    session.version = response.headers.get("X-Version") ?? session.version;
    return response;
  } catch (error) {
    throw new NetworkError(error);
  }
}

async function request(path: string, call: Call = {}, again = true): Promise<Response> {
  const response = await send(path, call);
  if (response.ok) return response;
  const error = await refusal(response);
  if ((await mended(error)) && again) return request(path, call, false);
  throw error;
}

/** True when asking again may help; main.tsx hears of everything else. */
export async function mended(error: ApiError): Promise<boolean> {
  const stale = error.code === "invalid_csrf_token";
  // Signing out in another tab changes the cookie the token belongs to; this page cannot see it.
  if (stale) session.csrf = (await boot("/")).csrf_token;
  else session.failed(error);
  return stale;
}

async function json<Answer>(path: string, call?: Call): Promise<Answer> {
  const response = await request(path, call);
  if (response.status === 204) return null as Answer;
  try {
    return (await response.json()) as Answer;
  } catch (error) {
    throw new NetworkError(error);
  }
}

const get = <Answer>(path: string) => json<Answer>(path);
const post = <Answer>(path: string, body: object = {}) =>
  json<Answer>(path, { method: "POST", body });
const put = <Answer>(path: string, body: object = {}) =>
  json<Answer>(path, { method: "PUT", body });
/** Nothing is answered, unless it says what. */
const remove = <Answer = void>(path: string, body?: object) =>
  json<Answer>(path, { method: "DELETE", body });
const word = encodeURIComponent;

// --- Start, session, join ---------------------------------------------------------------------

export type Welcome = { user: User; redirect_to: string };
export type Newcomer = { name: string; email_address: string; password: string };

export const boot = (path: string) => get<Boot | Redirect>(`/api/boot?path=${word(path)}`);
export const firstRun = (person: Newcomer) => post<Welcome>("/api/first_run", person);
export const signIn = (email_address: string, password: string) =>
  post<Welcome>("/api/session", { email_address, password });
/** Use browser.ts `signOut`, which also gives up this browser's push subscription. */
export const endSession = (push_subscription_endpoint: string | null) =>
  remove<{ redirect_to: string }>(
    "/api/session",
    push_subscription_endpoint ? { push_subscription_endpoint } : {},
  );
export const redeemTransfer = (id: string) => put<Welcome>(`/api/session/transfers/${word(id)}`);
export const join = (code: string, who: Newcomer) => post<Welcome>(`/api/join/${word(code)}`, who);

// --- Account ----------------------------------------------------------------------------------

type AccountChange = { name?: string; settings?: Account["settings"] };

export const updateAccount = (change: AccountChange) =>
  put<{ account: Account }>("/api/account", change);
export const newJoinCode = () =>
  post<{ join_code: string; join_url: string }>("/api/account/join_code");
export const updateCustomStyles = (custom_styles: string) =>
  put<{ custom_styles: string }>("/api/account/custom_styles", { custom_styles });
export const accountUsers = (number: number) => get<UserPage>(`/api/account/users?page=${number}`);
export const changeRole = (id: number, role: "member" | "administrator") =>
  put<{ user: User }>(`/api/account/users/${id}`, { role });
export const removeUser = (id: number) => remove(`/api/account/users/${id}`);

export type BotChange = { name: string; webhook_url: string; events: string[] };
type One = { bot: Bot };

export const createBot = (bot: BotChange) => post<One>("/api/account/bots", bot);
export const updateBot = (id: number, bot: BotChange) => put<One>(`/api/account/bots/${id}`, bot);
export const changeBotPicture = (id: number, picture: Blob) =>
  put<One>(`/api/account/bots/${id}/avatar`, picture);
export const removeBotPicture = (id: number) => remove<One>(`/api/account/bots/${id}/avatar`);
export const removeBot = (id: number) => remove(`/api/account/bots/${id}`);
export const newBotKey = (id: number) => put<{ bot: Bot }>(`/api/account/bots/${id}/key`);

export const changeLogo = (picture: Blob) =>
  put<{ account: Account }>("/api/account/logo", picture);
export const removeLogo = () => remove<{ account: Account }>("/api/account/logo");

// --- People -----------------------------------------------------------------------------------

type ProfileChange = Partial<Record<"name" | "email_address" | "password" | "bio", string>>;

export const ban = (id: number) => post<{ user: User }>(`/api/users/${id}/ban`);
export const liftBan = (id: number) => remove<{ user: User }>(`/api/users/${id}/ban`);
export const updateProfile = (change: ProfileChange) =>
  put<{ user: User }>("/api/users/me/profile", change);
export const changePicture = (picture: Blob) =>
  put<{ user: User }>("/api/users/me/avatar", picture);
export const removePicture = (id: number | "me") =>
  remove<{ user: User }>(`/api/users/${id}/avatar`);
export const sidebar = () => get<Sidebar>("/api/users/me/sidebar");
type PushKeys = Record<"endpoint" | "p256dh_key" | "auth_key", string>;
export const addPushSubscription = (keys: PushKeys) =>
  post<{ push_subscription: PushSubscriptionInfo }>("/api/users/me/push_subscriptions", keys);
export const pushSubscriptions = () =>
  get<{ push_subscriptions: PushSubscriptionInfo[] }>("/api/users/me/push_subscriptions");
export const removePushSubscription = (id: number) =>
  remove(`/api/users/me/push_subscriptions/${id}`);
export const testPushSubscription = (id: number) =>
  post<{ delivered: true }>(`/api/users/me/push_subscriptions/${id}/test_notifications`);
/** People whose name contains `query`; of one room's members when `room_id` is given. */
export const suggestions = (query: string, room_id?: number) =>
  get<{ users: Suggestion[]; everyone: boolean; page: number; next_page: number | null }>(
    `/api/autocompletable/users?query=${word(query)}${room_id ? `&room_id=${room_id}` : ""}`,
  );

// --- Rooms ------------------------------------------------------------------------------------

type Shared = Exclude<RoomType, "direct">;
export type RoomWords = { name: string; topic: string; user_ids: number[] };

export const room = (id: number, message_id?: number) =>
  get<RoomPage>(`/api/rooms/${id}${message_id ? `?message_id=${message_id}` : ""}`);
export const deleteRoom = (id: number) => remove(`/api/rooms/${id}`);
export const createRoom = (kind: Shared, room: RoomWords) =>
  post<{ room: Room }>(`/api/rooms/${kind}s`, room);
export const updateRoom = (kind: Shared, id: number, room: RoomWords) =>
  put<{ room: Room }>(`/api/rooms/${kind}s/${id}`, room);
export const createDirect = (user_ids: number[]) =>
  post<{ room: Room }>("/api/rooms/directs", { user_ids });
export const members = (id: number) => get<RoomMembers>(`/api/rooms/${id}/members`);
export const star = (id: number, on: boolean) => (on ? put : remove)(`/api/rooms/${id}/star`);
export const setInvolvement = (id: number, involvement: Involvement) =>
  put<Membership>(`/api/rooms/${id}/involvement`, { involvement });
export const markUnread = (id: number, message_id: number) =>
  put<null>(`/api/rooms/${id}/unread`, { message_id });
export const markRead = (id: number) => remove(`/api/rooms/${id}/unread`);

// --- Messages, boosts, search -----------------------------------------------------------------

/** A page of 40, or of 40 on both sides; null when there is nothing there. */
export const messagesAt = (room_id: number, side: "before" | "after" | "around", id: number) =>
  get<MessagePage | null>(`/api/rooms/${room_id}/messages?${side}=${id}`);
export const createMessage = (room_id: number, client_message_id: string, body: string) =>
  post<{ message: Message }>(`/api/rooms/${room_id}/messages`, { client_message_id, body });
export const editableMessage = (room_id: number, id: number) =>
  get<{ message: Message; edit_html: string }>(`/api/rooms/${room_id}/messages/${id}?edit=1`);
export const updateMessage = (room_id: number, id: number, body: string) =>
  put<{ message: Message }>(`/api/rooms/${room_id}/messages/${id}`, { body });
export const deleteMessage = (room_id: number, id: number) =>
  remove(`/api/rooms/${room_id}/messages/${id}`);
export const boost = (message_id: number, content: string) =>
  post<{ boost: Boost }>(`/api/messages/${message_id}/boosts`, { content });
export const unboost = (message_id: number, id: number) =>
  remove(`/api/messages/${message_id}/boosts/${id}`);
export const unfurl = (url: string) => post<Preview | null>("/api/unfurl_link", { url });
/** `query` as it stands in the address of a search. */
export const search = (query: string) => get<Search>(`/api/searches${query}`);
export const recordSearch = (q: string) =>
  post<{ query: string; redirect_to: string }>("/api/searches", { q });
export const clearSearches = () => remove("/api/searches/clear");
