import { readFileSync } from 'node:fs'
import { InvalidArgumentError } from 'commander'
import { catalogFromConfig, type Extensions } from '../../catalog/catalog.js'
import { isObject } from '../../lib/json.js'
import { type MaskingMode, type MaskingOptions, maskingModes } from '../../mask/masking.js'
import { kindPattern, type Pattern, Patterns } from '../../mask/patterns.js'
import { quote } from '../../protocol/codes.js'
import { changeableLimit, limitValue } from '../../protocol/given-limits.js'
import type { LimitName, Limits } from '../../protocol/limits.js'
import { checkedWebhooks, type WebhookOptions } from '../../server/webhooks/webhook-options.js'
import { CommandError, exitCodes } from '../exit-codes.js'
import { reasonOf } from '../hub-http.js'
import { type AccessConfig, accessFromConfig } from './access.js'
import { type LogConfig, logFromConfig } from './shared-log.js'

/** The fields of the config file. */
export interface Config {
  readonly catalog?: Extensions
  readonly limits?: Partial<Limits>
  readonly webhooks?: readonly WebhookOptions[]
  readonly log?: LogConfig
  readonly access: AccessConfig
  readonly masking?: MaskingOptions
  readonly maskingKeyFile?: string
}

/** @throws CommandError that names the place in the file */
export function readConfig(file: string): Config {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'))
    if (!isObject(value)) throw new Error(`expected an object, got ${quote(value)}`)
    const { catalog, limits, webhooks, log, masking, maskingPatterns, maskingKeyFile, ...rest } = value
    return {
      access: accessFromConfig(rest),
      ...(catalog !== undefined && { catalog: catalogFromConfig(catalog) }),
      ...(webhooks !== undefined && { webhooks: webhooksFromConfig(webhooks) }),
      ...(log !== undefined && { log: logFromConfig(log) }),
      ...(limits !== undefined && { limits: limitsFromConfig(limits) }),
      masking: {
        ...(masking !== undefined && { mode: maskingFromConfig(masking) }),
        ...(maskingPatterns !== undefined && { patterns: patternsFromConfig(maskingPatterns) }),
      },
      ...(maskingKeyFile !== undefined && { maskingKeyFile: textOf(maskingKeyFile, 'maskingKeyFile') }),
    }
  } catch (error) {
    throw new CommandError(exitCodes.failure, `${file}: ${reasonOf(error)}`)
  }
}

function webhooksFromConfig(value: unknown): readonly WebhookOptions[] {
  checkedWebhooks(value)
  return value as readonly WebhookOptions[]
}

function maskingFromConfig(value: unknown): MaskingMode {
  const mode = maskingModes.find((one) => one === value)
  if (mode !== undefined) return mode
  throw new Error(`masking: expected one of ${maskingModes.join(', ')}, got ${quote(value)}`)
}

function textOf(value: unknown, name: string): string {
  if (typeof value === 'string') return value
  throw new Error(`${name}: expected a text, got ${quote(value)}`)
}

/** `{ "kind": "expression" }` */
function patternsFromConfig(value: unknown): readonly Pattern[] {
  if (!isObject(value)) throw new Error(`maskingPatterns: expected an object, got ${quote(value)}`)
  const patterns = Object.entries(value).map(([kind, pattern]): Pattern => {
    if (!kindPattern.test(kind)) {
      throw new Error(
        `maskingPatterns.${kind}: expected a name of 1–32 of a–z, 0–9 and -, that begins with a letter`,
      )
    }
    if (typeof pattern !== 'string' || pattern === '')
      throw new Error(`maskingPatterns.${kind}: expected a regular expression, got ${quote(pattern)}`)
    return { kind, pattern }
  })
  try {
    new Patterns(patterns)
  } catch (error) {
    throw new Error(`maskingPatterns${reasonOf(error)}`)
  }
  return patterns
}

function limitsFromConfig(value: unknown): Partial<Limits> {
  if (!isObject(value)) throw new Error(`limits: expected an object, got ${quote(value)}`)
  const limits: Partial<Record<LimitName, number>> = {}
  for (const [given, limit] of Object.entries(value)) {
    const name = changeableLimit(given)
    limits[name] = limitValue(name, limit)
  }
  return limits
}

/** `--limit name=n` */
export function limitOption(text: string, previous: Partial<Limits> = {}): Partial<Limits> {
  const [named = '', value = ''] = text.split('=', 2)
  // The message shows what was typed, not NaN.
  const given = value === '' ? undefined : Number.isNaN(Number(value)) ? value : Number(value)
  try {
    const name = changeableLimit(named)
    return { ...previous, [name]: limitValue(name, given) }
  } catch (error) {
    throw new InvalidArgumentError(reasonOf(error))
  }
}
