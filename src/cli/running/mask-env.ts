import { inOrder } from '../../mask/found.js'
import { kindPattern } from '../../mask/patterns.js'
import { type SecretValue, Values, valueLengthMax, valueLengthMin } from '../../mask/values.js'

/** Names of variables whose values are probably secret. */
const secretName =
  /(?:^|_)(?:KEY|APIKEY|TOKEN|SECRET|PASS|PASSWD|PASSWORD|PASSPHRASE|CREDENTIALS?|PAT|DSN|AUTH|COOKIE)(?:_|$)|(?:DATABASE|REDIS|MONGO\w*|AMQP|WEBHOOK)_UR[IL]$/i
/** A path to a secret is not secret: `SSH_AUTH_SOCK`, `GOOGLE_APPLICATION_CREDENTIALS`. */
const path = /^(?:\/|~\/|\.\.?\/|[A-Z]:\\)/

/**
 * @param names the variables, separated by commas; by default those that look secret
 * @returns the values of the environment that are secret, each with the name of its variable as its kind
 */
export function secretsOfEnv(env: NodeJS.ProcessEnv, names: string | true): readonly SecretValue[] {
  const named = names === true ? undefined : names.split(',').map((name) => name.trim())
  return Object.entries(env).flatMap(([name, value = '']) => {
    const isMeant = named === undefined ? secretName.test(name) && !path.test(value) : named.includes(name)
    if (!isMeant || value.length < valueLengthMin || value.length > valueLengthMax) return []
    return [{ kind: kindOf(name), value }]
  })
}

function kindOf(name: string): string {
  const kind = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+/, '')
    .slice(0, 32)
  return kindPattern.test(kind) ? kind : 'value'
}

/** @returns a function that masks values in a text, with the same marks as the hub */
export function maskOfValues(secrets: readonly SecretValue[], key: string): (text: string) => string {
  const values = new Values(key)
  for (const secret of secrets) for (const hashed of values.hashed(secret)) values.add(hashed)
  return (text) => {
    const found = values.find(text)
    let masked = ''
    let at = 0
    for (const { from, to, kind } of inOrder(found)) {
      masked += `${text.slice(at, from)}[secret:${kind}]`
      at = to
    }
    return masked + text.slice(at)
  }
}
