import { endOf, kinds, kindsOf } from './characters.js'
import { hasChecksum } from './checksum.js'
import { authorization, bearer, isPlaceholder, urlPassword } from './header-shapes.js'
import { type Reading, type Shape, secretAfter } from './shape.js'

const { word, url, hex, upper, base64, value, digit } = kinds

/** The form of a token after its prefix. */
interface Body {
  readonly of: number
  readonly min: number
  /** Maximum length; unlimited by default. */
  readonly max?: number
  /** Whether it is one at all, by its first 128 characters. */
  readonly is?: (sample: string) => boolean
}

/** Maximum length of a token without another bound. Characters. */
const bodyLengthMax = 2_048
/** How much of a token is examined to decide whether it is one. A small part, because a text may contain many prefixes. */
const sampleLength = 128

/** A token that begins with a prefix which nothing else begins with. */
function token(kind: string, anchors: string, { of, min, max = bodyLengthMax, is = isVaried }: Body): Shape {
  return {
    kind,
    anchors: anchors.split(' '),
    read(text, at, anchor) {
      const from = at + anchor.length
      const sampled = endOf(text, from, of, sampleLength)
      if (sampled - from < min && sampled - from < sampleLength)
        return { from: at, to: sampled, isSecret: false }
      if (!is(text.slice(from, sampled))) return { from: at, to: sampled, isSecret: false }
      const to = endOf(text, sampled, of, from + max + 1 - sampled)
      const length = to - from
      if (length > max && max < bodyLengthMax) return undefined
      return { from: at, to, isSecret: length >= min }
    },
  }
}

/** Whether it is not a placeholder such as `xxxxxxxx` or `your-token-here`. */
function isVaried(sample: string): boolean {
  return (
    different(sample) >= 6 && (sample.length >= 64 || /\d/.test(sample) || /[A-Z][^A-Z]*[A-Z]/.test(sample))
  )
}

/** @returns the number of different ASCII characters in a text */
function different(text: string): number {
  let [low, high, count] = [0, 0, 0]
  for (let at = 0; at < text.length && count < 8; at++) {
    const unit = text.charCodeAt(at)
    // Two words of bits. Digits and signs share some bits, so the count is approximate, which is enough.
    const bit = 1 << (unit & 31)
    if (unit < 64 ? (low & bit) === 0 : (high & bit) === 0) count++
    if (unit < 64) low |= bit
    else high |= bit
  }
  return count
}

/** A token whose prefix is a common word. */
function isRandom(sample: string): boolean {
  let digits = 0
  let uppers = 0
  let others = 0
  for (let at = 0; at < sample.length; at++) {
    const kind = kindsOf(sample.charCodeAt(at))
    if ((kind & digit) !== 0) digits++
    else if ((kind & upper) !== 0) uppers++
    else if ((kind & hex) === 0 && sample[at] !== '-') others++
  }
  return digits >= 2 && different(sample) >= 8 && (uppers > 0 || others === 0 || digits >= 5)
}

/** A correct checksum proves a token; examples in documentation have a wrong one. */
function isChecked(sample: string): boolean {
  return isVaried(sample) || (sample.length === 36 && hasChecksum(sample))
}

/** `eyJ…`: a header in base64url, a claim set, a signature (RFC 7515, 7519), or the five parts of RFC 7516. */
const jwt: Shape = {
  kind: 'jwt',
  anchors: ['eyJ'],
  read(text, at) {
    if (text[at - 1] === '-' || text[at - 1] === '_') return undefined
    let to = endOf(text, at, url, jwtPartMax)
    if (to < text.length && (to - at < jwtHeaderMin || !isJwtHeader(text.slice(at, to)))) return undefined
    let parts = 1
    while (text[to] === '.' && parts < 5) {
      const end = endOf(text, to + 1, url, jwtPartMax)
      if (end === to + 1 && end < text.length && text[end] !== '.') break
      to = end
      parts++
    }
    return { from: at, to, isSecret: parts >= 3 }
  },
}

const jwtPartMax = 16_384
/** `{"alg":"none"}` has 19 in base64. */
const jwtHeaderMin = 16

function isJwtHeader(part: string): boolean {
  try {
    const header: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
    return (
      typeof header === 'object' && header !== null && ('alg' in header || 'enc' in header || 'typ' in header)
    )
  } catch {
    return false
  }
}

/** `123456789:AA…`: the token of a Telegram bot. The number is not secret. */
const telegram: Shape = {
  kind: 'telegram-token',
  anchors: [':AA'],
  read(text, at) {
    let number = at
    while (number > 0 && at - number < 12 && (kindsOf(text.charCodeAt(number - 1)) & digit) !== 0) number--
    // The text may begin within the number.
    if (number > 0 && at - number < 8) return undefined
    const to = endOf(text, at + 1, url, 36)
    const length = to - at - 1
    return length > 35
      ? undefined
      : { from: at + 1, to, isSecret: length === 35 && isVaried(text.slice(at, to)) }
  },
}

/** A name, `=` or `:`, and a value that only occurs after this name. */
function named(kind: string, anchors: string, body: Body): Shape {
  return {
    kind,
    anchors: anchors.split(' '),
    read: (text, at, anchor) => secretAfter(text, at + anchor.length, body),
  }
}

/** The signature of an Azure URL that grants access. */
const signature: Shape = {
  kind: 'azure-sas',
  anchors: ['&sig=', '?sig='],
  read(text, at, anchor) {
    const from = at + anchor.length
    const to = endOf(text, from, value, 121)
    return to - from > 120 ? undefined : { from, to, isSecret: to - from >= 40 }
  },
}

/** `Password=…` in a connection string, next to other settings. */
const settingPassword: Shape = {
  kind: 'password',
  anchors: ['Password=', 'password=', 'PASSWORD=', 'Pwd=', 'pwd=', 'PWD='],
  read(text, at, anchor): Reading | undefined {
    const from = at + anchor.length
    let to = from
    while (to < text.length && to - from < 256 && !/[\s;&"'`<>,)\]}]/.test(text[to] as string)) to++
    const before = text[at - 1]
    const isSetting = before === ';' || before === '&' || before === '?' || text[to] === ';'
    const isSecret = isSetting && to - from >= 3 && !isPlaceholder(text.slice(from, to))
    return isSetting || to === text.length ? { from, to, isSecret } : undefined
  },
}

/**
 * Tokens that can be recognized by their form. Most forms are from the providers' documentation of secret scanning. The
 * lengths are those seen in use, with some margin.
 */
export const shapes: readonly Shape[] = [
  // Clouds
  token('aws-key', 'AKIA ASIA ABIA ACCA', { of: upper, min: 16, max: 16 }),
  named('aws-secret', 'aws_secret_access_key AWS_SECRET_ACCESS_KEY SecretAccessKey secretAccessKey', {
    of: base64,
    min: 40,
    max: 40,
  }),
  named('aws-session', 'aws_session_token AWS_SESSION_TOKEN', { of: base64, min: 100 }),
  token('google-key', 'AIza', { of: url, min: 35, max: 36 }),
  token('google-token', 'ya29.', { of: url, min: 20 }),
  token('google-secret', 'GOCSPX-', { of: url, min: 24, max: 40 }),
  named('azure-key', 'AccountKey SharedAccessKey', { of: base64, min: 40, max: 90 }),
  signature,
  token('alibaba-key', 'LTAI', { of: word, min: 12, max: 26 }),
  token('digitalocean-token', 'dop_v1_ doo_v1_ dor_v1_', { of: hex, min: 64, max: 64 }),
  token('heroku-token', 'HRKU-', { of: url, min: 36, max: 80 }),
  token('fly-token', 'fm1_ fm2_ fo1_', { of: base64 | url, min: 40 }),
  token('databricks-token', 'dapi', { of: hex, min: 32, max: 32 }),
  token('vault-token', 'hvs. hvb. hvr.', { of: url, min: 24 }),
  token('doppler-token', 'dp.pt. dp.st. dp.ct. dp.sa. dp.scim. dp.audit.', { of: word, min: 40 }),
  token('pulumi-token', 'pul-', { of: hex, min: 40, max: 40 }),
  token('supabase-token', 'sbp_ sb_secret_', { of: url, min: 24 }),
  token('planetscale-token', 'pscale_tkn_ pscale_pw_ pscale_oauth_', { of: value, min: 32 }),
  token('neon-token', 'napi_', { of: word, min: 48 }),
  token('netlify-token', 'nfp_', { of: word, min: 36 }),
  token('grafana-token', 'glc_ glsa_', { of: base64 | url, min: 32 }),
  token('newrelic-key', 'NRAK- NRJS- NRAL-', { of: upper, min: 24 }),
  token('sentry-token', 'sntrys_ sntryu_', { of: base64 | url, min: 40 }),
  // Repositories and registries
  token('github-token', 'ghp_ gho_ ghu_ ghs_ ghr_', { of: word, min: 36, max: 251, is: isChecked }),
  token('github-token', 'github_pat_', { of: url, min: 60, max: 251 }),
  token('gitlab-token', 'glpat- glptt- gldt- glrt- glcbt- glft- glsoat- gloas- glagent- glimt-', {
    of: url,
    min: 20,
    max: 300,
  }),
  token('npm-token', 'npm_', { of: word, min: 36, max: 36, is: isChecked }),
  token('pypi-token', 'pypi-AgE', { of: url, min: 50 }),
  token('rubygems-key', 'rubygems_', { of: hex, min: 48, max: 48 }),
  token('crates-token', 'cio', { of: word, min: 32, max: 32, is: isRandom }),
  token('docker-token', 'dckr_pat_ dckr_oat_', { of: url, min: 27 }),
  token('nuget-key', 'oy2', { of: word, min: 43, max: 43, is: isRandom }),
  token('jfrog-key', 'AKCp', { of: word, min: 60 }),
  token('bitbucket-token', 'ATBB', { of: url, min: 32, max: 40, is: isRandom }),
  token('atlassian-token', 'ATATT3 ATCTT3', { of: base64 | url, min: 60 }),
  // Model providers and agent tools
  token('anthropic-key', 'sk-ant-', { of: url, min: 24 }),
  token('openai-key', 'sk-proj- sk-svcacct- sk-admin- sk-None-', { of: url, min: 20 }),
  token('openrouter-key', 'sk-or-v1-', { of: hex, min: 64, max: 64 }),
  token('langfuse-key', 'sk-lf-', { of: url, min: 36 }),
  token('model-key', 'sk-', { of: url, min: 20, is: isRandom }),
  token('elevenlabs-key', 'sk_', { of: hex, min: 48, max: 48 }),
  token('huggingface-token', 'hf_ api_org_', { of: word, min: 34, max: 40 }),
  token('groq-key', 'gsk_', { of: word, min: 40 }),
  token('xai-key', 'xai-', { of: url, min: 70 }),
  token('replicate-token', 'r8_', { of: word, min: 37, max: 40 }),
  token('perplexity-key', 'pplx-', { of: word, min: 40 }),
  token('nvidia-key', 'nvapi-', { of: url, min: 60 }),
  token('langsmith-key', 'lsv2_pt_ lsv2_sk_', { of: url, min: 36 }),
  token('tavily-key', 'tvly-', { of: url, min: 32 }),
  token('firecrawl-key', 'fc-', { of: hex, min: 32, max: 32 }),
  token('e2b-key', 'e2b_', { of: hex, min: 40, max: 40 }),
  token('voyage-key', 'pa-', { of: url, min: 40, is: isRandom }),
  // Payment, messages, work
  token('stripe-key', 'sk_live_ sk_test_ rk_live_ rk_test_', { of: word, min: 16 }),
  token('webhook-secret', 'whsec_', { of: base64, min: 24 }),
  token('square-token', 'sq0csp- sq0atp- sq0idp-', { of: url, min: 22 }),
  token('shopify-token', 'shpat_ shpca_ shppa_ shpss_', { of: word, min: 32, max: 32 }),
  token('twilio-key', 'SK0 SK1 SK2 SK3 SK4 SK5 SK6 SK7 SK8 SK9 SKa SKb SKc SKd SKe SKf', {
    of: hex,
    min: 31,
    max: 31,
  }),
  token('sendgrid-key', 'SG.', { of: value, min: 60, max: 80 }),
  token('mailgun-key', 'key-', { of: hex, min: 32, max: 32 }),
  token('slack-token', 'xoxb- xoxp- xoxa- xoxr- xoxs- xoxe- xoxe. xoxc- xoxd- xapp-', { of: url, min: 20 }),
  token('slack-webhook', 'hooks.slack.com/services/ hooks.slack.com/workflows/', { of: value, min: 24 }),
  token('discord-webhook', 'discord.com/api/webhooks/ discordapp.com/api/webhooks/', { of: value, min: 60 }),
  telegram,
  token('linear-key', 'lin_api_ lin_oauth_', { of: word, min: 32 }),
  token('notion-token', 'ntn_', { of: word, min: 40 }),
  token('figma-token', 'figd_ figdr_', { of: url, min: 40 }),
  token('postman-key', 'PMAK-', { of: url, min: 56 }),
  token('posthog-key', 'phx_', { of: word, min: 32 }),
  token('age-key', 'AGE-SECRET-KEY-1', { of: upper, min: 58, max: 58 }),
  token('1password-token', 'ops_eyJ', { of: url, min: 100 }),
  jwt,
  // Forms in the output of programs
  urlPassword,
  settingPassword,
  authorization,
  bearer,
]
