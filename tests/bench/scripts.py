"""What the client's benchmark runs inside a page: notes it takes, and what it does there."""

# Runs before anything of the page: what was painted, what took long, what moved, what came when.
NOTES = """
window.notes = {tasks: [], shifts: [], events: [], came: 0, shown: 0, ready: 0}
const watch = (type, take, more = {}) => new PerformanceObserver(list => {
  for (const entry of list.getEntries()) take(entry)
}).observe({type, buffered: true, ...more})
watch('longtask', ({startTime, duration}) => notes.tasks.push([startTime, duration]))
watch('layout-shift', ({value, hadRecentInput}) => hadRecentInput || notes.shifts.push(value))
watch('event', ({name, duration, interactionId}) => {
  if (interactionId) notes.events.push([name, duration])
}, {durationThreshold: 16})
window.painted = () => new Promise(done => requestAnimationFrame(() => {
  const {port1, port2} = new MessageChannel()
  port1.onmessage = () => done(performance.now())
  port2.postMessage(0)
}))
window.WebSocket = class extends WebSocket {
  constructor(...rest) {
    super(...rest)
    this.addEventListener('message', event => {
      if (event.data.includes('turbo-stream')) notes.came = event.timeStamp
    })
  }
}
const room = new MutationObserver(async () => {
  if (!document.querySelector('.message')) return
  room.disconnect()
  notes.shown = await painted()
})
room.observe(document, {childList: true, subtree: true})
const ready = setInterval(() => {
  if (!document.querySelector('[contenteditable]')) return
  notes.ready = performance.now()
  clearInterval(ready)
}, 2)
"""

FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"

# Resolves, once the list has its next message, with when that was painted.
NEXT_MESSAGE = """
void (window.next = new Promise(done => {
  const list = document.querySelector('.messages')
  const known = list.lastElementChild
  new MutationObserver(async (_, observer) => {
    if (list.lastElementChild === known) return
    observer.disconnect()
    done(await painted())
  }).observe(list, {childList: true})
}))
"""

# Resolves, once the click has led to the room, with when that was painted.
NEXT_ROOM = """() => {
  addEventListener('click', event => { notes.from = event.timeStamp }, true)
  window.next = new Promise(done => new MutationObserver(async (_, observer) => {
    if (document.querySelector('h1')?.innerText !== 'Watercooler') return
    observer.disconnect()
    done(await painted())
  }).observe(document.body, {childList: true, subtree: true}))
}"""

# Wheels the list upwards, frame by frame, until `pages` more have come; what each frame was like.
SCROLL = """async ([pages, step]) => {
  const list = document.querySelector('.messages')
  const frames = [], frame = () => new Promise(requestAnimationFrame)
  let most = 0, came = 0, first = list.querySelector('.message').id, last = await frame()
  for (let idle = 0; came < pages && idle < 600; idle += 1) {
    list.scrollBy({top: -step, behavior: 'instant'})
    const now = await frame()
    frames.push(now - last)
    last = now
    most = Math.max(most, list.querySelectorAll('.message').length)
    const newest = list.querySelector('.message').id
    if (newest === first) continue
    first = newest
    came += 1
    idle = 0
  }
  return {frames, most, came}
}"""

# What a page looks like, with nothing behind it; a plain box stands where one writes.
STILL = """() => {
  const still = document.documentElement.cloneNode(true)
  for (const part of still.querySelectorAll('script, link[rel=manifest]')) part.remove()
  still.querySelector('.composer__editor').innerHTML = '<div contenteditable role=textbox></div>'
  return '<!doctype html>' + still.outerHTML
}"""

# Brings it to life again, as little as possible: Enter adds a message, a click on a room shows as
# many messages as fill the window, and one on a message's options shows eleven buttons.
ALIVE = """() => {
  const list = document.querySelector('.messages'), box = document.querySelector('[role=textbox]')
  const last = list.lastElementChild, fresh = [...list.children].slice(-16, -1)
  const add = () => {
    list.append(last.cloneNode(true))
    list.scrollTop = list.scrollHeight
  }
  list.scrollTop = list.scrollHeight
  window.come = () => {
    notes.came = performance.now()
    add()
  }
  addEventListener('keydown', event => {
    if (event.key !== 'Enter') return
    event.preventDefault()
    notes.from = event.timeStamp
    box.textContent = ''
    add()
  })
  const show = () => {
    list.replaceChildren(...fresh.map(message => message.cloneNode(true)))
    list.scrollTop = list.scrollHeight
    box.focus()
  }
  addEventListener('click', event => {
    const button = event.target.closest('button, a')
    event.preventDefault()
    if (button?.matches('.message__options-btn'))
      for (let count = 0; count < 11; count += 1) button.after(button.cloneNode(true))
    if (!button?.matches('.rooms a')) return
    notes.from = event.timeStamp
    window.next = document.startViewTransition(show).updateCallbackDone.then(painted)
  })
}"""

POST = """async ([room, count, first, at_once]) => {
  const token = (await (await fetch('/api/boot')).json()).csrf_token
  const headers = {'X-CSRF-Token': token, 'Content-Type': 'application/json'}
  const post = number => fetch(`/api/rooms/${room}/messages`, {
    method: 'POST', headers, body: JSON.stringify({body: `<div>Live ${number}</div>`}),
  })
  let next = first
  await Promise.all(Array.from({length: at_once}, async () => {
    while (next < first + count) await post(next++)
  }))
}"""
