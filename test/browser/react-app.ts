import {
  createElement as h,
  type ReactNode,
  StrictMode,
  Suspense,
  startTransition,
  useEffect,
  useState,
} from 'react'
import { createRoot, hydrateRoot, type Root } from 'react-dom/client'
import { type Client, connect } from '../../src/client.js'
import {
  RuncastProvider,
  type UseEventsOptions,
  useEvents,
  useSessionState,
  useStatus,
} from '../../src/react.js'

/** How often each part was drawn. */
export const drawn: Record<string, number> = {}

function count(name: string): void {
  drawn[name] = (drawn[name] ?? 0) + 1
}

/** What the test chooses. */
export interface Shown {
  readonly topic?: string
  readonly options?: UseEventsOptions
  /** Lists of the same events. */
  readonly lists: number
  /** Another list, of other events. */
  readonly other?: UseEventsOptions
  readonly slices: readonly string[]
}

function List({ topic, options = {} }: Pick<Shown, 'topic' | 'options'>): ReactNode {
  const { events, live, gap, ended } = useEvents(topic, options)
  count('list')
  const said = ended ? ended.code : live ? 'live' : 'joining'
  return h(
    'ol',
    { className: `${said} ${gap?.reason ?? ''}` },
    h('strong', { key: 'said' }, said),
    events.map(({ offset, type, data }) => h('li', { key: offset }, `${type} ${JSON.stringify(data)}`)),
  )
}

function Slice({ topic, name }: { readonly topic: string | undefined; readonly name: string }): ReactNode {
  const value = useSessionState(topic, name)
  count(name)
  return h('p', { id: name }, value === undefined ? 'nothing' : JSON.stringify(value))
}

export function App({ topic, options, lists, other, slices }: Shown): ReactNode {
  const { kind } = useStatus()
  return [
    h('b', { key: 'status' }, kind),
    ...Array.from({ length: lists }, (_, at) =>
      h(List, { key: `list-${at}`, ...(topic && { topic }), ...(options && { options }) }),
    ),
    other && h(List, { key: 'other', ...(topic && { topic }), options: other }),
    ...slices.map((name) => h(Slice, { key: name, topic, name })),
  ]
}

/** As an app does it: with a provider that connects, in strict mode. */
export function page(url: string, shown: Shown): ReactNode {
  return h(StrictMode, null, h(RuncastProvider, { url }, h(App, shown)))
}

interface Element {
  replaceChildren(): void
  appendChild(child: Element): void
}

const { document } = globalThis as unknown as {
  readonly document: { createElement(name: string): Element; getElementById(id: string): Element | null } & {
    readonly body: Element
  }
}

let root: Root | undefined
let client: Client | undefined

function place(): Element {
  const element = document.createElement('main')
  document.body.replaceChildren()
  document.body.appendChild(element)
  return element
}

/** Draws with a client of the test's own. */
export function draw(url: string, shown: Shown): void {
  client ??= connect(url, { backoff: { firstMs: 10, mostMs: 50 } })
  root ??= createRoot(place())
  root.render(h(StrictMode, null, h(RuncastProvider, { client }, h(App, shown))))
}

export function drawPage(url: string, shown: Shown): void {
  root ??= createRoot(place())
  root.render(page(url, shown))
}

/** Takes over what the server has drawn. */
export function hydrate(url: string, shown: Shown): void {
  root = hydrateRoot(document.getElementById('root') as never, page(url, shown))
}

/** What a component of a topic waits for while it is closed, as for its data or its code. */
const gate = { topic: '', closed: Promise.resolve(), open() {} }

let moveTo: (topic: string) => void
let drawAgain: () => void

/** Follows a topic, and then suspends. */
function Held(): ReactNode {
  const [topic, setTopic] = useState('sessions/a')
  const [, setCount] = useState(0)
  useEffect(() => {
    moveTo = (next) => startTransition(() => setTopic(next))
    drawAgain = () => setCount((count) => count + 1)
  }, [])
  return h(Gated, { topic })
}

function Gated({ topic }: { readonly topic: string }): ReactNode {
  const list = h(List, { topic, options: { replay: 'all' } })
  const { live } = useEvents(topic, { replay: 'all' })
  // oxlint-disable-next-line typescript/only-throw-error -- React waits for a promise that is thrown.
  if (gate.topic === topic) throw gate.closed
  return h('div', { id: topic.replace('/', '-'), className: live ? 'live' : 'joining' }, list)
}

/** Draws what suspends while the gate is closed, with a client whose frames can be read. */
export function drawHeld(url: string): void {
  client = connect(url, { codec: 'json' })
  root = createRoot(place())
  const held = h(Suspense, { fallback: h('i', null, 'waiting') }, h(Held))
  root.render(h(StrictMode, null, h(RuncastProvider, { client }, held)))
}

export function closeGate(topic: string): void {
  gate.topic = topic
  gate.closed = new Promise((resolve) => {
    gate.open = () => {
      gate.topic = ''
      resolve()
    }
  })
}

export const openGate = (): void => gate.open()
export const suspend = (): void => drawAgain()
export const move = (topic: string): void => moveTo(topic)

export function leave(): void {
  root?.unmount()
  root = undefined
}
