import type { OutputStream } from './child.js'
import { lineAgain, overwrites, type Palette, paletteFor, terminalText } from './paint.js'
import type { Output, Surroundings } from './surroundings.js'

/** How runcast calls itself among the workers. */
const self = 'runcast'

/** One place where lines appear: a terminal, a file, a pipe. */
interface Sheet {
  readonly output: Output
  readonly palette: Palette
  /** Whose line has not ended yet. */
  open: string | undefined
  /** It ended in a carriage return: what comes next takes its place. */
  returned: boolean
  /** Nobody reads any more. */
  closed: boolean
}

/**
 * Shows lines of several workers, each behind its worker's name in its own colour.
 *
 * On a terminal the text is made harmless (`terminalText`); files and pipes get it as it is.
 */
export class Screen {
  readonly #sheets: { readonly stdout: Sheet; readonly stderr: Sheet }
  readonly #prefixes = new Map<string, { readonly stdout: string; readonly stderr: string }>()
  readonly #width: number

  /** @param names of the workers that are known already: they get the first colours, and set the width */
  constructor({ stdout, stderr, env }: Surroundings, names: readonly string[]) {
    const out: Sheet = {
      output: stdout,
      palette: paletteFor(stdout, env),
      open: undefined,
      returned: false,
      closed: false,
    }
    // Two terminals are one: a line that is open on either is open on both.
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

  /** Columns of what stands before each line. */
  get prefixWidth(): number {
    return this.#width + 3
  }

  /** Whether more output would only pile up in memory; `drained` tells its end. */
  get busy(): boolean {
    return this.#outputs().some(({ output, closed }) => output.writableNeedDrain && !closed)
  }

  /** Calls `task` whenever an output has been read so far that more may come. */
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

  /** Says something of our own, about one worker or the whole. Goes to stderr. */
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
