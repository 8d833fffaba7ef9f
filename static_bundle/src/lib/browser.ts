/** What the browser offers a page: history, clipboard, drawings, push, badge, sound, focus. */
import { useSyncExternalStore } from "react";
import type { Sound } from "./api";
import * as api from "./api";
import { Observable } from "./store";

// --- Navigation (main.tsx registers the router, so that nothing below needs to import it) --------

type Visit = (path: string, how?: { replace?: boolean }) => void;
let router: Visit = (path) => location.assign(path);

export function registerRouter(visit: Visit): void {
  router = visit;
}

/** Goes to a page of ours without loading the document. */
export function visit(path: string, how: { replace?: boolean } = {}): void {
  router(path, how);
}

/** The previous page of ours, or `fallback` when there is none: each entry knows how many. */
export function goBack(fallback: string): void {
  if (history.state?.depth) history.back();
  else visit(fallback);
}

export function reload(): void {
  location.reload();
}

// --- Asking the browser -------------------------------------------------------------------------

const media = new Map<string, MediaQueryList>();

function mediaQuery(query: string): MediaQueryList {
  const list = media.get(query) ?? matchMedia(query);
  media.set(query, list);
  return list;
}

export function matches(query: string): boolean {
  return mediaQuery(query).matches;
}

/** Whether a media query matches, now and from now on. */
export function useMedia(query: string): boolean {
  return useSyncExternalStore(
    (tell) => {
      const list = mediaQuery(query);
      list.addEventListener("change", tell);
      return () => list.removeEventListener("change", tell);
    },
    () => matches(query),
  );
}

export const DESKTOP = "(min-width: 50rem)";
/** The primary pointer is a finger: Enter makes a new line, and nothing takes the focus by itself. */
export const isTouchOnly = (): boolean => matches("(hover: none) and (pointer: coarse)");
export const reducedMotion = (): boolean => matches("(prefers-reduced-motion: reduce)");
export const isStandalone = (): boolean => matches("(display-mode: standalone)");

type System = "ios" | "android" | "macos" | "windows" | "chromeos" | "linux";
type BrowserName = "edge" | "firefox" | "chrome" | "safari";

/** Which help someone needs; a guess from the user agent, used for words only. */
export function platform(agent = navigator.userAgent): { system: System; browser: BrowserName } {
  return { system: systemOf(agent), browser: browserOf(agent) };
}

function systemOf(agent: string): System {
  // An iPad says "Macintosh", but no Macintosh has a touch screen.
  if (/iPhone|iPad|iPod/.test(agent)) return "ios";
  if (/Macintosh/.test(agent)) return navigator.maxTouchPoints > 1 ? "ios" : "macos";
  if (/Android/.test(agent)) return "android";
  if (/Windows/.test(agent)) return "windows";
  return /CrOS/.test(agent) ? "chromeos" : "linux";
}

function browserOf(agent: string): BrowserName {
  if (/Edg(e|A|iOS)?\//.test(agent)) return "edge";
  if (/Firefox|FxiOS/.test(agent)) return "firefox";
  return /Chrome|CriOS|Chromium/.test(agent) ? "chrome" : "safari";
}

/** The browser's own question, for what cannot be taken back. */
export function confirmed(question: string): boolean {
  return window.confirm(question);
}

export function canShare(data?: ShareData): boolean {
  return typeof navigator.canShare === "function" && (!data || navigator.canShare(data));
}

/** False when the person thought better of it. */
export async function share(data: ShareData): Promise<boolean> {
  try {
    await navigator.share(data);
    return true;
  } catch {
    return false;
  }
}

/** The address of a QR code for `text`: URL-safe base64 of its UTF-8. */
export function qrPath(text: string): string {
  return `/qr_code/${base64Url(new TextEncoder().encode(text))}`;
}

function base64Url(bytes: Uint8Array): string {
  const binary = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

// --- The clipboard ------------------------------------------------------------------------------

/** True when it was copied; else the person was shown it, selected, to copy it by hand. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without https there is no clipboard to write to, but what is selected can be copied.
    if (copyBySelection(text)) return true;
    prompt("Copy this:", text);
    return false;
  }
}

function copyBySelection(text: string): boolean {
  const focused = document.activeElement as HTMLElement | null;
  const field = document.createElement("textarea");
  field.className = "for-screen-reader";
  field.value = text;
  // Beside the button: an open dialog or menu takes the focus leaving it as a wish to close.
  (focused?.parentElement ?? document.body).append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus({ preventScroll: true });
  return copied;
}

// --- Drawings --------------------------------------------------------------------------------------

/** Puts the sheet of drawings, which the document asked for beside the client, into the page. */
export async function drawIcons(): Promise<void> {
  const answer = await fetch(new URL(/* @vite-ignore */ "icons.svg", import.meta.url));
  if (!answer.ok) throw new Error(`icons.svg: ${answer.status}`);
  const sheet = new DOMParser().parseFromString(await answer.text(), "image/svg+xml");
  document.body.append(sheet.documentElement);
}

// --- Pictures of files -----------------------------------------------------------------------------

const STILL_BOX = [1200, 800] as const;
const STILL_AT_MOST = 5000;
/** What the server makes pictures of by itself, and what some browsers can read instead. */
const DECODED_THERE = /^image\/(jpeg|png|gif|webp|avif)$/;
const DECODED_HERE = /^image\/hei[cf]$/;

/** What the room will show of a file that the server cannot read. */
export interface Still {
  blob: Blob;
  width: number;
  height: number;
  duration_ms?: number;
}

/** Null where there is none to be made, where the browser cannot either, and after five seconds. */
export async function stillOf(file: File): Promise<Still | null> {
  const video = file.type.startsWith("video/");
  if (!(video || DECODED_HERE.test(file.type))) return null;
  const url = URL.createObjectURL(file);
  const never = new Promise<null>((done) => setTimeout(done, STILL_AT_MOST, null));
  const still = (video ? frameOf(url) : drawn(file, STILL_BOX)).catch(() => null);
  return Promise.race([still, never]).finally(() => URL.revokeObjectURL(url));
}

async function frameOf(url: string): Promise<Still> {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: url });
  const heard = (name: string) =>
    new Promise((done, failed) => {
      video.addEventListener(name, done, { once: true });
      video.addEventListener("error", failed, { once: true });
    });
  await heard("loadedmetadata");
  const { duration, videoWidth: width, videoHeight: height } = video;
  const known = Number.isFinite(duration);
  video.currentTime = Math.min(1, known ? duration / 10 : 1);
  await heard("seeked");
  const still = await paintedOn(video, width, height, STILL_BOX);
  video.removeAttribute("src");
  return known ? { ...still, duration_ms: Math.round(duration * 1000) } : still;
}

async function drawn(file: Blob, box: readonly [number, number]): Promise<Still> {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  const { width, height } = bitmap;
  return paintedOn(bitmap, width, height, box).finally(() => bitmap.close());
}

/** The sides of a picture that lies within a box, and is never enlarged. */
export function within(width: number, height: number, [right, bottom]: readonly [number, number]) {
  const scale = Math.min(1, right / width, bottom / height);
  const side = (length: number) => Math.max(1, Math.round(length * scale));
  return { width: side(width), height: side(height) };
}

/** As a JPEG, which every browser makes, with the size it had. */
async function paintedOn(
  source: CanvasImageSource,
  width: number,
  height: number,
  box: readonly [number, number],
): Promise<Still> {
  const canvas = Object.assign(document.createElement("canvas"), within(width, height, box));
  canvas.getContext("2d")?.drawImage(source, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/jpeg", 0.8));
  if (!blob) throw new Error("There is no picture.");
  return { blob, width, height };
}

/** The box an image will have in the room; null when the browser cannot tell. */
export async function boxOf(url: string) {
  const image = Object.assign(new Image(), { src: url });
  const known = await image.decode().then(
    () => image.naturalWidth > 0,
    () => false,
  );
  return known ? within(image.naturalWidth, image.naturalHeight, STILL_BOX) : null;
}

const LARGE_SIDE = 2048;
const LARGE_BYTES = 4 * 1024 * 1024;

/** A picture of somebody, made smaller where it is large, and readable where only we can read it. */
export async function handy(picture: File): Promise<Blob> {
  try {
    const { blob, width, height } = await drawn(picture, [1024, 1024]);
    const large = Math.max(width, height) > LARGE_SIDE || picture.size > LARGE_BYTES;
    return large || !DECODED_THERE.test(picture.type) ? blob : picture;
  } catch {
    return picture;
  }
}

// --- Cookies ------------------------------------------------------------------------------------------

const TWENTY_YEARS = 20 * 365 * 24 * 60 * 60;

function getCookie(name: string): string | null {
  const pair = document.cookie.split("; ").find((cookie) => cookie.startsWith(`${name}=`));
  return pair ? decodeURIComponent(pair.slice(name.length + 1)) : null;
}

export function setCookie(name: string, value: string): void {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  // The Cookie Store API is not in every browser we serve.
  // biome-ignore lint/suspicious/noDocumentCookie: see above
  document.cookie = `${name}=${encodeURIComponent(value)}; Path=/; Max-Age=${TWENTY_YEARS}; SameSite=Lax${secure}`;
}

// --- Push notifications ----------------------------------------------------------------------------

const WORKER = "/service-worker.js";
let pushOn = false;

const pushPossible = (): boolean =>
  "serviceWorker" in navigator && "Notification" in window && "PushManager" in window;

/** What this page already knows, so that later rooms need not ask again. */
export const knownPushEnabled = (): boolean => pushOn;

export type PushState = "impossible" | "denied" | "prompt" | "granted" | "enabled";

export async function pushState(): Promise<PushState> {
  if (!pushPossible()) return "impossible";
  if (Notification.permission === "denied") return "denied";
  if (Notification.permission === "default") return "prompt";
  pushOn = (await pushSubscription()) !== null;
  return pushOn ? "enabled" : "granted";
}

async function pushSubscription(): Promise<PushSubscription | null> {
  if (!pushPossible()) return null;
  const registration = await navigator.serviceWorker.getRegistration("/");
  return (await registration?.pushManager?.getSubscription()) ?? null;
}

/** Asks, subscribes and tells the server. Call it from a click. */
export async function enablePush(vapidKey: string): Promise<"enabled" | "denied" | "failed"> {
  if (!pushPossible() || Notification.permission === "denied") return "denied";
  if ((await Notification.requestPermission()) !== "granted") return "denied";
  try {
    const registration = await navigator.serviceWorker.register(WORKER, { scope: "/" });
    await navigator.serviceWorker.ready;
    const subscription = await registration.pushManager.subscribe({
      userVisibleOnly: true,
      applicationServerKey: bytesOf(vapidKey),
    });
    await registerPush(subscription);
    pushOn = true;
    return "enabled";
  } catch {
    return "failed";
  }
}

/** A subscription the server refused is of no use to anybody: it is given up again. */
async function registerPush(subscription: PushSubscription): Promise<void> {
  const { keys } = subscription.toJSON();
  try {
    await api.addPushSubscription({
      endpoint: subscription.endpoint,
      p256dh_key: keys?.p256dh ?? "",
      auth_key: keys?.auth ?? "",
    });
  } catch (error) {
    await subscription.unsubscribe();
    throw error;
  }
}

function bytesOf(base64url: string): Uint8Array<ArrayBuffer> {
  const binary = atob(base64url.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
}

const firstVisit = (): string =>
  isStandalone() ? "notifications-pwa-first-run-seen" : "notifications-first-run-seen";

export const firstVisitSeen = (): boolean => getCookie(firstVisit()) !== null;
export const markFirstVisitSeen = (): void => setCookie(firstVisit(), "true");

/** Registers the worker for those who have it already, and follows notification clicks. */
export function startServiceWorker(): void {
  if (!("serviceWorker" in navigator)) return;
  navigator.serviceWorker.addEventListener("message", ({ data }) => {
    if (data?.type === "visit" && typeof data.path === "string") visit(data.path);
  });
  // Without it there is no offline page; the app itself does not depend on it.
  navigator.serviceWorker.register(WORKER, { scope: "/" }).catch(() => undefined);
}

/** Ends the session, and this browser's notifications with it. */
export async function signOut(): Promise<void> {
  const subscription = await pushSubscription().catch(() => null);
  await subscription?.unsubscribe().catch(() => false);
  // The sockets close with the session: what is refused from here on is no reason to come back.
  api.onRefusal(() => undefined);
  const { redirect_to } = await api.endSession(subscription?.endpoint ?? null);
  sessionStorage.clear();
  location.assign(redirect_to);
}

/** The number on the app's icon. */
export function setBadge(count: number): void {
  const shown = count > 0 ? navigator.setAppBadge?.(count) : navigator.clearAppBadge?.();
  shown?.catch(() => undefined);
}

// --- Installing ------------------------------------------------------------------------------------

interface InstallEvent extends Event {
  prompt(): Promise<unknown>;
}

class Install extends Observable<InstallEvent | null> {
  listen(): void {
    addEventListener("beforeinstallprompt", (event) => {
      event.preventDefault();
      this.set(event as InstallEvent);
    });
    addEventListener("appinstalled", () => this.set(null));
  }

  async prompt(): Promise<void> {
    await this.state()?.prompt();
    this.set(null);
  }
}

/** The browser's offer to install the app, kept until somebody wants it. */
export const install = new Install(null);

// --- Prefetching -----------------------------------------------------------------------------------

const PREFETCH_KEPT = 10_000;
const ahead = new Map<string, { answer: ReturnType<typeof api.boot>; at: number }>();
let asking = 0;

/** Asks for a page before it is wanted; at most two at once, kept for 10 s. */
export function prefetch(path: string): void {
  const saving = (navigator as { connection?: { saveData?: boolean } }).connection?.saveData;
  const kept = ahead.get(path);
  if (saving || asking >= 2 || (kept && Date.now() - kept.at < PREFETCH_KEPT)) return;
  asking += 1;
  const answer = api.boot(path);
  ahead.set(path, { answer, at: Date.now() });
  answer
    .catch(() => ahead.delete(path))
    .finally(() => {
      asking -= 1;
    });
}

/** What was asked for ahead is older than the news. */
export const unfetch = (path: string): boolean => ahead.delete(path);
/**
 * The prefetched answer, once, or a fresh one. A prefetched sidebar is left out for a `live` one,
 * which has heard the news since then.
 */
export async function bootFor(path: string, live: boolean): ReturnType<typeof api.boot> {
  const kept = ahead.get(path);
  ahead.delete(path);
  if (!kept || Date.now() - kept.at >= PREFETCH_KEPT) return api.boot(path);
  const boot = await kept.answer.catch(() => api.boot(path));
  if ("redirect_to" in boot || !live) return boot;
  const { sidebar: _, ...data } = boot.data as api.PageData["room"];
  return { ...boot, data: data as api.PageData["room"] };
}

// --- Sounds ----------------------------------------------------------------------------------------

/** One sound at a time; its key tells apart the messages that play the same one. */
class Player extends Observable<string | null> {
  #audio: HTMLAudioElement | null = null;

  play(sound: Sound, key: string): void {
    this.stop();
    const audio = new Audio(sound.url);
    this.#audio = audio;
    const over = () => this.#audio === audio && this.stop();
    audio.addEventListener("ended", over);
    audio.addEventListener("error", over);
    this.set(key);
    // Browsers refuse to play before the page was touched; that is nobody's fault.
    audio.play().catch(over);
  }

  stop(): void {
    this.#audio?.pause();
    this.#audio = null;
    this.set(null);
  }

  toggle(sound: Sound, key: string): void {
    if (this.state() === key) this.stop();
    else this.play(sound, key);
  }
}

export const player = new Player(null);

// --- The focus ---------------------------------------------------------------------------------------

const COMPOSER = "#composer [role=textbox]";

/** When what has the focus is taken away, what it stood in gets it, and never the whole page. */
export function keepFocus(): void {
  let focused: Element | null = null;
  let around: HTMLElement[] = [];
  addEventListener("focusin", ({ target }) => {
    focused = target as Element;
    around = [];
    for (let place = focused.parentElement; place; place = place.parentElement)
      if (place.matches("[tabindex]:not(main)")) around.push(place);
  });
  new MutationObserver(() => {
    if (document.activeElement !== document.body || focused?.isConnected !== false) return;
    focused = null;
    const others = [...(isTouchOnly() ? [] : [COMPOSER]), "h1"].map((place) =>
      document.querySelector<HTMLElement>(place),
    );
    [...around, ...others].find((place) => place?.isConnected)?.focus({ preventScroll: true });
  }).observe(document.body, { childList: true, subtree: true });
}

// --- Painting --------------------------------------------------------------------------------------

/** In milliseconds: a slow frame. */
const PAINT_AT_MOST = 250;

/** What is rendered has been on the screen for a frame; nothing is painted in a hidden tab. */
export const painted = (): Promise<void> =>
  new Promise((done) => {
    requestAnimationFrame(() => setTimeout(done));
    setTimeout(done, PAINT_AT_MOST);
  });

/** Where the caret is, counted in characters of the box's text. */
export function caretIn(box: HTMLElement): number {
  const selection = getSelection();
  if (!selection?.rangeCount) return box.textContent.length;
  const range = selection.getRangeAt(0).cloneRange();
  range.setStart(box, 0);
  return range.toString().length;
}
