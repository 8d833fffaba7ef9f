/**
 * Push notifications, and a page to show when the network is away. Built assets are kept, because
 * their addresses change with every build; nothing a person wrote is ever stored or sent from here.
 */
declare const self: ServiceWorkerGlobalScope;

const CACHE = "campfire-1";
const OFFLINE = "/offline";

const OFFLINE_PAGE = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Campfire</title>
<style>
body { font-family: system-ui, sans-serif; min-height: 90vh; display: grid; place-content: center; justify-items: center; gap: 1.5rem; margin: 1rem; text-align: center; }
h1 { font-size: 1rem; font-weight: 400; margin: 0; }
a { background: CanvasText; border-radius: 2em; color: Canvas; font-weight: 600; padding: 0.6em 1.2em; text-decoration: none; }
</style>
</head>
<body>
<img src="/account/logo?size=small" alt="" width="96" height="96">
<h1>You're offline. Campfire comes back when your connection does.</h1>
<a href="">Try again</a>
<script>
setInterval(() => fetch("/webmanifest.json", { cache: "no-store" })
  .then((answer) => answer.ok && location.reload(), () => undefined), 5000)
</script>
</body>
</html>`;

const LOGO = "/account/logo?size=small";

interface Pushed {
  title: string;
  options: NotificationOptions & { data?: { path?: string; badge?: number } };
}

self.addEventListener("install", (event) => {
  event.waitUntil(prepare().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(forgetOldCaches().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  if (url.pathname.startsWith("/assets/")) event.respondWith(fromCache(request));
  else if (request.mode === "navigate") event.respondWith(page(request));
  else if (url.pathname + url.search === LOGO) event.respondWith(logo(request));
});

self.addEventListener("push", (event) => {
  const { title, options } = pushed(event.data);
  const badge = options.data?.badge ?? 0;
  // One notification per room; a further one rings again.
  const tag = options.data?.path ?? "campfire";
  const shown = self.registration.showNotification(title, {
    ...options,
    tag,
    renotify: true,
  } as NotificationOptions);
  event.waitUntil(Promise.all([shown, setBadge(badge)]));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data?.path));
});

self.addEventListener("pushsubscriptionchange", (event) => {
  (event as ExtendableEvent).waitUntil(subscribeAgain());
});

async function prepare(): Promise<void> {
  const cache = await caches.open(CACHE);
  const headers = { "Content-Type": "text/html; charset=utf-8" };
  await cache.put(OFFLINE, new Response(OFFLINE_PAGE, { headers }));
  await cache.add(LOGO).catch(() => undefined);
}

async function forgetOldCaches(): Promise<void> {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name !== CACHE).map((name) => caches.delete(name)));
}

async function fromCache(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request);
  if (kept) return kept;
  const answer = await fetch(request);
  if (answer.ok) {
    await forgetOtherBuilds(cache, request);
    await cache.put(request, answer.clone());
  }
  return answer;
}

/** `/assets/DIGEST/…`: files of another digest belong to a build that is gone. */
async function forgetOtherBuilds(cache: Cache, request: Request): Promise<void> {
  const build = (address: string) => new URL(address).pathname.split("/")[2];
  for (const kept of await cache.keys()) {
    const old = new URL(kept.url).pathname.startsWith("/assets/");
    if (old && build(kept.url) !== build(request.url)) await cache.delete(kept);
  }
}

async function page(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch {
    return (await caches.match(OFFLINE)) ?? Response.error();
  }
}

async function logo(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch {
    return (await caches.match(LOGO)) ?? Response.error();
  }
}

/** A push that says nothing readable is shown all the same: silent ones cost the subscription. */
function pushed(data: PushMessageData | null): Pushed {
  try {
    const { title, options } = (data?.json() ?? {}) as Partial<Pushed>;
    if (typeof title === "string") return { title, options: options ?? {} };
  } catch {
    // Shown as the general one below.
  }
  return { title: "Campfire", options: { body: "Something new in Campfire", data: { path: "/" } } };
}

async function setBadge(count: number): Promise<void> {
  const { navigator } = self as { navigator: Partial<Badges> };
  await navigator.setAppBadge?.(count)?.catch(() => undefined);
}

interface Badges {
  setAppBadge(count: number): Promise<void>;
}

async function open(path: unknown): Promise<void> {
  const url = new URL(typeof path === "string" ? path : "/", self.location.origin);
  if (url.origin !== self.location.origin) return;
  const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const window = windows.find((client) => client.focused) ?? windows[0];
  if (!window) {
    await self.clients.openWindow(url.href);
    return;
  }
  // Without a click, or when the click is long ago, no browser lets a worker raise a window.
  await window.focus().catch(() => undefined);
  // The running client goes there by itself, without loading the document.
  window.postMessage({ type: "visit", path: url.pathname + url.search });
}

/** No browser says for certain which subscription it was, so the server's own key is asked for. */
async function subscribeAgain(): Promise<void> {
  const boot = await fetch("/api/boot?path=/users/me/profile", { credentials: "same-origin" });
  const { csrf_token, vapid_public_key } = (await boot.json()) as Record<string, string>;
  if (!csrf_token || !vapid_public_key) return;
  const subscription = await self.registration.pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: vapid_public_key,
  });
  const { keys } = subscription.toJSON();
  await fetch("/api/users/me/push_subscriptions", {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf_token },
    body: JSON.stringify({
      endpoint: subscription.endpoint,
      p256dh_key: keys?.p256dh,
      auth_key: keys?.auth,
    }),
  });
}
