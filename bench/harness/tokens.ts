import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The texts of a model's stream, in the order in which they came. */
export interface Tokens {
  readonly texts: readonly string[]
  /** For the notes below the table. */
  readonly source: string
}

const tracesDir = fileURLToPath(new URL('../../../shared/traces/', import.meta.url))

let read: Tokens | undefined

/** @returns the texts of recorded streams where there are some, else as many of the same lengths. */
export function readTokens(): Tokens {
  read ??= readTraces()
  return read
}

function readTraces(): Tokens {
  if (!existsSync(tracesDir)) return { texts: generateTokens(1_500), source: 'generated' }
  const files = readdirSync(tracesDir).filter((file) => file.endsWith('.ndjson'))
  const texts = files.flatMap((file) => {
    const lines = readFileSync(join(tracesDir, file), 'utf8').split('\n')
    return lines.filter((line) => line !== '').flatMap((line) => textOf(JSON.parse(line) as ProviderEvent))
  })
  return { texts, source: `${files.length} recorded streams` }
}

/** What OpenAI's, Anthropic's and DeepSeek's streams have in common: a delta somewhere. */
interface ProviderEvent {
  readonly delta?:
    | string
    | { readonly text?: string; readonly partial_json?: string; readonly thinking?: string }
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string | null; readonly reasoning_content?: string | null }
  }[]
}

function textOf({ delta, choices }: ProviderEvent): string[] {
  const choice = choices?.[0]?.delta
  const text =
    typeof delta === 'string'
      ? delta
      : (delta?.text ??
        delta?.partial_json ??
        delta?.thinking ??
        choice?.content ??
        choice?.reasoning_content)
  return text ? [text] : []
}

/** Lengths of recorded texts in characters: the greatest of each twentieth of them; the last one's is cut to its mean. */
const lengthQuantiles = [1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9, 10, 11, 12, 25]

/** @returns texts with the lengths of recorded ones; always the same. */
export function generateTokens(count: number): string[] {
  const alphabet = ' the quick brown fox jumps over the lazy dog'
  let state = 20_251_126
  const random = () => {
    // A linear congruential generator (Numerical Recipes): its numbers need not be good, only fixed.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
  return Array.from({ length: count }, () => {
    const at = Math.floor(random() * lengthQuantiles.length)
    const least = lengthQuantiles[at - 1] ?? 1
    const length = least + Math.floor(random() * ((lengthQuantiles[at] as number) - least + 1))
    const start = Math.floor(random() * alphabet.length)
    return alphabet.repeat(Math.ceil((length + start) / alphabet.length)).slice(start, start + length)
  })
}
