import type { Contender } from '../harness/side.js'
import type { Peer } from '../peers/peers.js'

/** What a scenario is run with. */
export interface Conditions {
  readonly quick: boolean
  readonly runs: number
  /** Contestants beyond Runcast and the limit. */
  readonly peers: readonly Peer[]
  /** Runcast, and another build of it to compare with if there is one. */
  readonly ours: readonly Contender[]
  /** Whether a cell is to be measured. */
  readonly wants: (cell: string) => boolean
  /** Folder for V8 CPU profiles of the servers. */
  readonly profileDir: string | undefined
  /** Shows how far it is; one short line. */
  readonly progress: (text: string) => void
}

/** One row of results. Numbers are in the unit that the column says. */
export type Row = { readonly [column: string]: string | number }

export interface Column {
  readonly name: string
  /** Digits after the point, for numbers. */
  readonly digits?: number
}

export interface Results {
  readonly columns: readonly Column[]
  readonly rows: readonly Row[]
  /** Everything that was measured, for the JSON file. */
  readonly details: object
  /** Said below the table. */
  readonly notes: readonly string[]
}

export interface Scenario {
  readonly name: string
  /** One line for `--help`. */
  readonly about: string
  /** Only when it is named. */
  readonly onlyNamed?: boolean
  /** Names of what it measures, for `--only`. */
  cells(quick: boolean): readonly string[]
  run(conditions: Conditions): Promise<Results>
}
