import { lineAgain, overwrites, type Palette, paletteFor, terminalText } from '../showing/paint.js'
import type { Output, Surroundings } from '../surroundings.js'
import type { OutputStream } from './child.js'

/** Runcast's own name among the workers. */
const self = 'runcast'

/** One output for lines: a terminal, a file or a pipe. */
interface Sheet {
  readonly output: Output
  readonly palette: Palette
  /** The worker with an unfinished line. */
  open: string | undefined
  /** It ended in a carriage return: the next text replaces it. */
  returned: boolean
  /** Nobody reads any more. */
  closed: boolean
}

/**
 * Shows lines of several workers, each behind its worker's name in its own colour.
 *
 * On a terminal the text is made harmless (`terminalText`); files and pipes get it unchanged.
 */
export class Screen {
  readonly #sheets: { readonly stdout: Sheet; readonly stderr: Sheet }
  readonly #prefixes = new Map<string, { readonly stdout: string; readonly stderr: string }>()
  readonly #width: number

  /** @param names of the workers that are already known; they get the first colours, and set the width */
  constructor({ stdout, stderr, env }: Surroundings, names: readonly string[]) {
    const out: Sheet = {
      output: stdout,
      palette: paletteFor(stdout, env),
      open: undefined,
      returned: false,
      closed: false,
    }
    // If both outputs are terminals they are the same one, so an unfinished line is unfinished on both.
    const oneTerminal = stdout.isTTY === true && stderr.isTTY === true
    const err = oneTerminal ? out : { ...out, output: stderr, palette: paletteFor(stderr, env) }
    this.#sheets = { stdout: out, stderr: err }
    this.#width = Math.max(self.length, ...names.map((name) => name.length))
    for (const name of names) this.#prefix(name, 'stdout')
    for (const sheet of new Set([out, err])) {
      sheet.output.on('error', () => {
        sheet.closed = true
      })
    }
  }

  get palette(): Palette {
    return this.#sheets.stderr.palette
  }

  /** The width of the prefix of each line. Columns. */
  get prefixWidth(): number {
    return this.#width + 3
  }

  /** Whether more output would only pile up in memory; `drained` reports the end of this. */
  get busy(): boolean {
    return this.#outputs().some(({ output, closed }) => output.writableNeedDrain && !closed)
  }

  /** Calls `task` when an output has been read far enough for more. */
  onDrain(task: () => void): void {
    for (const { output } of this.#outputs()) {
      output.on('drain', task)
      output.on('error', task)
    }
  }

  /** Shows pieces of a worker's output: a piece without `\n` is continued by the next of the same stream. */
  show(worker: string, stream: OutputStream, texts: readonly string[]): void {
    const sheet = this.#sheets[stream]
    if (sheet.closed) return
    const prefix = this.#prefix(worker, stream)
    const source = `${stream} ${worker}`
    let shown = ''
    for (const text of texts) {
      const again = sheet.output.isTTY === true && (sheet.returned || overwrites(text))
      if (sheet.open !== source) shown += sheet.open === undefined ? prefix : `\n${prefix}`
      else if (again) shown += lineAgain + prefix
      shown += sheet.output.isTTY ? terminalText(text) : text
      sheet.open = text.endsWith('\n') ? undefined : source
      sheet.returned = text.endsWith('\r')
    }
    sheet.output.write(shown)
  }

  /** Shows a message of runcast itself, about one worker or the whole run, on stderr. */
  tell(text: string, worker = self): void {
    const sheet = this.#sheets.stderr
    if (sheet.closed) return
    const ended = sheet.open === undefined ? '' : '\n'
    sheet.open = undefined
    sheet.output.write(`${ended}${this.#prefix(worker, 'stderr')}${text}\n`)
  }

  #outputs(): readonly Sheet[] {
    return [this.#sheets.stdout, this.#sheets.stderr]
  }

  #prefix(name: string, stream: OutputStream): string {
    let prefix = this.#prefixes.get(name)
    if (prefix === undefined) {
      const index = [...this.#prefixes.keys()].filter((other) => other !== self).length
      const of = ({ palette }: Sheet): string => {
        const padded = name.padEnd(this.#width)
        const painted = name === self ? palette.dim(padded) : palette.worker(index)(padded)
        return `${painted} ${palette.dim(palette.coloured ? '│' : '|')} `
      }
      prefix = { stdout: of(this.#sheets.stdout), stderr: of(this.#sheets.stderr) }
      this.#prefixes.set(name, prefix)
    }
    return prefix[stream]
  }
}
