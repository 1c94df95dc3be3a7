import { tokenChecksum } from '../../src/mask/checksum.js'

/** A secret that nobody has, and a text as it may stand in. */
export interface MadeUp {
  readonly kind: string
  /** What may be in no place that can be read. */
  readonly secret: string
  readonly text: string
}

const digits = '0123456789'
const lower = 'abcdefghijklmnopqrstuvwxyz'
const upper = lower.toUpperCase()
const word = digits + upper + lower
const url = `${word}_-`
const hex = '0123456789abcdef'
const base64 = `${word}+/`

/** @param random a number in [0, 1) */
export function secretsOf(random: () => number): MadeUp[] {
  const some = (characters: string, length: number): string => {
    let text = ''
    while (text.length < length) text += characters[Math.floor(random() * characters.length)]
    return text
  }
  /** With what a real one has in all likelihood. */
  const token = (characters: string, length: number): string => {
    const ends = characters === hex ? 'a7' : characters.includes('a') ? 'aZ7' : 'Q7'
    return (
      some(characters, length - ends.length - 1) +
      (characters === hex ? '3' : characters.includes('a') ? '4' : '5') +
      ends
    )
  }
  const whole = (kind: string, secret: string): MadeUp => ({ kind, secret, text: secret })
  const within = (kind: string, before: string, secret: string, after = ''): MadeUp => ({
    kind,
    secret,
    text: before + secret + after,
  })
  const json = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const checked = (prefix: string): string => {
    const body = token(word, 30)
    return prefix + body + tokenChecksum(body)
  }
  const key = (label: string, lines: number): string =>
    [
      `-----BEGIN ${label}-----`,
      ...Array.from({ length: lines }, () => some(base64, 64)),
      `${some(base64, 30)}==`,
      `-----END ${label}-----`,
    ].join('\n')
  return [
    ...['AKIA', 'ASIA'].map((prefix) => whole('aws-key', prefix + token(upper + digits, 16))),
    within('aws-secret', 'aws_secret_access_key = ', token(base64, 40)),
    within('aws-secret', 'export AWS_SECRET_ACCESS_KEY="', token(base64, 40), '"'),
    whole('google-key', `AIza${token(url, 35)}`),
    whole('google-token', `ya29.${token(url, 60)}`),
    whole('google-secret', `GOCSPX-${token(url, 28)}`),
    within(
      'azure-key',
      'AccountName=stuff;AccountKey=',
      `${token(base64, 86)}==`,
      ';EndpointSuffix=core.windows.net',
    ),
    within(
      'azure-sas',
      'https://stuff.blob.core.windows.net/a?sp=r&sv=2024-11-04&sig=',
      `${token(base64, 43)}%3D`,
    ),
    whole('alibaba-key', `LTAI${token(word, 20)}`),
    whole('digitalocean-token', `dop_v1_${token(hex, 64)}`),
    whole('databricks-token', `dapi${token(hex, 32)}`),
    whole('vault-token', `hvs.${token(url, 90)}`),
    whole('doppler-token', `dp.pt.${token(word, 43)}`),
    whole('pulumi-token', `pul-${token(hex, 40)}`),
    whole('supabase-token', `sbp_${token(hex, 40)}`),
    whole('planetscale-token', `pscale_tkn_${token(url, 43)}`),
    whole('grafana-token', `glsa_${token(word, 32)}_${token(hex, 8)}`),
    whole('newrelic-key', `NRAK-${token(upper + digits, 27)}`),
    ...['ghp_', 'gho_', 'ghs_', 'ghr_', 'ghu_'].map((prefix) => whole('github-token', checked(prefix))),
    whole('github-token', `github_pat_${token(word, 22)}_${token(word, 59)}`),
    ...['glpat-', 'glrt-', 'gldt-'].map((prefix) => whole('gitlab-token', prefix + token(url, 20))),
    whole('npm-token', checked('npm_')),
    whole('pypi-token', `pypi-AgEIcHlwaS5vcmc${token(url, 80)}`),
    whole('rubygems-key', `rubygems_${token(hex, 48)}`),
    whole('docker-token', `dckr_pat_${token(url, 27)}`),
    whole('anthropic-key', `sk-ant-api03-${token(url, 93)}AA`),
    whole('openai-key', `sk-proj-${token(url, 74)}T3BlbkFJ${token(url, 74)}`),
    whole('model-key', `sk-${token(word, 20)}T3BlbkFJ${token(word, 20)}`),
    whole('model-key', `sk-${token(hex, 32)}`),
    whole('openrouter-key', `sk-or-v1-${token(hex, 64)}`),
    whole('huggingface-token', `hf_${token(word, 34)}`),
    whole('groq-key', `gsk_${token(word, 52)}`),
    whole('xai-key', `xai-${token(word, 80)}`),
    whole('replicate-token', `r8_${token(word, 37)}`),
    whole('perplexity-key', `pplx-${token(word, 48)}`),
    whole('nvidia-key', `nvapi-${token(url, 64)}`),
    whole('langsmith-key', `lsv2_pt_${token(hex, 32)}_${token(hex, 10)}`),
    whole('tavily-key', `tvly-dev-${token(word, 32)}`),
    ...['sk_live_', 'sk_test_', 'rk_live_'].map((prefix) => whole('stripe-key', prefix + token(word, 24))),
    whole('webhook-secret', `whsec_${token(base64, 32)}`),
    whole('shopify-token', `shpat_${token(hex, 32)}`),
    whole('twilio-key', `SK${token(hex, 32)}`),
    whole('sendgrid-key', `SG.${token(url, 22)}.${token(url, 43)}`),
    whole('mailgun-key', `key-${token(hex, 32)}`),
    whole('slack-token', `xoxb-${some(digits, 12)}-${some(digits, 13)}-${token(word, 24)}`),
    whole(
      'slack-webhook',
      `hooks.slack.com/services/T${token(upper + digits, 8)}/B${token(upper + digits, 10)}/${token(word, 24)}`,
    ),
    within('telegram-token', `1${some(digits, 9)}:`, `AA${token(url, 33)}`),
    whole('linear-key', `lin_api_${token(word, 40)}`),
    whole('notion-token', `ntn_${token(word, 46)}`),
    whole('figma-token', `figd_${token(url, 40)}`),
    whole('postman-key', `PMAK-${token(hex, 24)}-${token(hex, 34)}`),
    whole('age-key', `AGE-SECRET-KEY-1${token(upper + digits, 58)}`),
    whole(
      'jwt',
      `${json({ alg: 'HS256', typ: 'JWT' })}.${json({ sub: some(word, 12), exp: 1e9 })}.${token(url, 43)}`,
    ),
    within('password', 'postgres://app:', token(word, 14), '@db.internal:5432/app'),
    within('password', 'amqp://guest:', token(word, 9), '@queue/'),
    within('password', 'Server=db;User Id=app;Password=', token(word, 12), ';Encrypt=true'),
    within('authorization', 'Authorization: Bearer ', token(url, 40)),
    within('authorization', '-H "Authorization: Basic ', `${token(base64, 22)}==`, '"'),
    within('authorization', '{"authorization":"Bearer ', token(url, 32), '"}'),
    within('cookie', 'Cookie: theme=dark; sid=', token(word, 32)),
    within('cookie', 'Set-Cookie: session=', token(word, 32), '; Path=/; HttpOnly'),
    whole('private-key', key('RSA PRIVATE KEY', 6)),
    whole('private-key', key('OPENSSH PRIVATE KEY', 3)),
  ]
}

/** @returns numbers in [0, 1) that depend on the seed alone */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
