import type { Level } from '../catalog/traits.js'
import type { Entry } from '../history/entry.js'
import { Filter } from './filter.js'
import { isError } from './result.js'

/** A selection of events of a history. */
export interface Selection {
  /** Exact names, `prefix*`, and `!` before either to exclude; absent: all. */
  readonly types?: readonly string[] | undefined
  readonly workers?: readonly string[] | undefined
  readonly levels?: readonly Level[] | undefined
  /** Only events that report a failure. */
  readonly errors?: boolean | undefined
}

/** A filter for reading a history. Unlike with subscriptions, `complete` must meet its conditions too, except for types. */
export class HistoryFilter extends Filter {
  readonly #workers: ReadonlySet<string> | undefined
  readonly #levels: ReadonlySet<Level> | undefined
  readonly #errors: boolean

  /** @throws ProtocolError `badFrame` */
  constructor({ types, workers, levels, errors }: Selection) {
    super({ mode: 'full', ...(types && { types }) })
    this.#workers = workers && new Set(workers)
    this.#levels = levels && new Set(levels)
    this.#errors = errors === true
  }

  override accepts(entry: Entry): boolean {
    if (!super.accepts(entry)) return false
    const { event, traits } = entry
    if (this.#workers !== undefined && !this.#workers.has(event.worker ?? '')) return false
    if (this.#levels?.has(traits.level) === false) return false
    return !this.#errors || isError(event, traits)
  }
}
