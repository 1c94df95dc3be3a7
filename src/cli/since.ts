import { InvalidArgumentError } from 'commander'

/** The start of `tail --since`: after a cursor, at an age, or at a time. Milliseconds. */
export type Since =
  | { readonly kind: 'cursor'; readonly cursor: string }
  | { readonly kind: 'ago'; readonly ms: number }
  | { readonly kind: 'time'; readonly at: number }

const unitsMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** @returns an age for `10m` or `1h30m`, a time for an ISO 8601 date, otherwise a cursor */
export function sinceOption(text: string): Since {
  if (/^(\d{1,9}[smhd])+$/.test(text)) {
    const parts = [...text.matchAll(/(\d+)([smhd])/g)]
    const ms = parts.reduce((sum, [, count, unit = '']) => sum + Number(count) * (unitsMs[unit] ?? 0), 0)
    return { kind: 'ago', ms }
  }
  if (!/^\d{4}-\d\d-\d\d/.test(text)) return { kind: 'cursor', cursor: text }
  const at = Date.parse(text)
  if (at >= 0) return { kind: 'time', at }
  throw new InvalidArgumentError(
    'expected a cursor, an age such as 10m, or a time such as 2026-01-31T10:00:00Z.',
  )
}
