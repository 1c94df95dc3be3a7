import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { JsonValue } from '../../src/lib/json.js'
import { hasChecksum, tokenChecksum } from '../../src/mask/checksum.js'
import { Masking, type MaskingMode } from '../../src/mask/masking.js'
import { Masks } from '../../src/mask/masks.js'
import type { Pattern } from '../../src/mask/patterns.js'
import { isPlainJson } from '../../src/mask/plain-json.js'
import { TailedText } from '../../src/mask/tails.js'
import { Values, valueLengthMin } from '../../src/mask/values.js'
import { SeededRandom } from '../kit/random.js'
import { type MadeUp, randomOf, secretsOf } from '../kit/secrets.js'

class Session {
  readonly epoch = 'key'
  masks: Masks | undefined
  changes = 0
  startMasks(masks: Masks): void {
    this.masks = masks
  }
  masksChanged(): void {
    this.changes++
  }
  know(kind: string, value: string): void {
    this.masks ??= new Masks()
    this.masks.know(new Values('key').hashed({ kind, value }), 'key')
  }
}

function masking(mode: Exclude<MaskingMode, 'off'> = 'shapes', patterns: readonly Pattern[] = []): Masking {
  return new Masking(mode, patterns, new SeededRandom(1))
}

function masked(text: string, one = masking()): string {
  return one.text(text, new Session())
}

/** @returns what a text that comes in pieces looks like in the end */
function inPieces(pieces: readonly string[], one = masking(), session = new Session()): string {
  const text = new TailedText()
  return pieces.map((piece) => text.add(piece, one, session)).join('') + text.release(one, session)
}

function characters(text: string): string[] {
  return text.split('')
}

t.test('masks secrets of every known form, and nothing around them', async (t) => {
  for (let seed = 1; seed <= 5; seed++) {
    for (const { kind, secret, text } of secretsOf(randomOf(seed))) {
      for (const [before, after] of [
        ['', ''],
        ['see: ', ' and so on'],
        ['a="', '"'],
        ['line\n', '\nline'],
        ['{\\"text\\":\\"first\\n', '\\"}'],
        ['\u001b[31m', '\u001b[0m'],
        ['(', '), '],
      ]) {
        const whole = `${before}${text}${after}`
        t.equal(
          masked(whole),
          whole.replace(secret, `[secret:${kind}]`),
          `${kind} in ${JSON.stringify(whole)}`,
        )
      }
    }
  }
})

t.test('masks a secret that is cut at any place into two pieces, or into single characters', async (t) => {
  for (const made of secretsOf(randomOf(7))) {
    const whole = `see: ${made.text}\nand so on`
    const due = masked(whole)
    for (let cut = 0; cut <= whole.length; cut++) {
      expectMasked(t, inPieces([whole.slice(0, cut), whole.slice(cut)]), due, made)
    }
    expectMasked(t, inPieces(characters(whole)), due, made)
  }
})

t.test('masks secrets that are cut at random into any number of pieces', async (t) => {
  const made = secretsOf(randomOf(11))
  t.ok(made.length > 60)
  fc.assert(
    fc.property(fc.nat(made.length - 1), fc.array(fc.nat(400), { maxLength: 30 }), (index, cuts) => {
      const one = made[index] as MadeUp
      const whole = `first ${one.text}\nthen ${one.text}\nend`
      const at = [...new Set(cuts.map((cut) => cut % whole.length))].sort((a, b) => a - b)
      const pieces = [...at, whole.length].map((end, place) =>
        whole.slice(place === 0 ? 0 : at[place - 1], end),
      )
      const shown = inPieces(pieces)
      return !leaks(shown, one.secret)
    }),
    { numRuns: 2_000 },
  )
})

/** Up to two characters of what all secrets of a kind begin with may have been sent before anybody could know. */
function expectMasked(t: Test, shown: string, due: string, { kind, secret }: MadeUp): void {
  const allowed = [0, 1, 2, 3].map((sent) =>
    due.replace(`[secret:${kind}]`, `${secret.slice(0, sent)}[secret:${kind}]`),
  )
  t.ok(allowed.includes(shown), `${kind}: ${JSON.stringify(shown)}`)
}

/** Whether a text has more of a secret than what all of its kind begin with. */
function leaks(shown: string, secret: string): boolean {
  const middle = secret.slice(Math.floor(secret.length / 3), Math.floor(secret.length / 3) + 8)
  return shown.includes(middle) || shown.includes(secret.slice(-8))
}

t.test('leaves ordinary text, code, hashes and ids as they are', async (t) => {
  const texts = [
    'The task-list of the risk-averse desk-clerk is at https://example.com:8080/a?b=c@d#e.',
    'commit 3f786850e387550fdab836ed7e6dc881de23001b by someone@example.com',
    'sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
    '6f1c9a52-1d7c-4e4c-8f57-0d9b5b7c2c11 00000000-0000-0000-0000-000000000000',
    'export OPENAI_API_KEY=sk-your-key-goes-here; curl -H "Authorization: Bearer $TOKEN"',
    'postgres://user:${PASSWORD}@host/db postgres://user:<password>@host/db redis://:***@host',
    'ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx and sk-learn-contrib-something-else',
    '-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ\n-----END CERTIFICATE-----',
    'import { cookie } from "./cookie.js"; // a cookie: it has a name',
    'const authorization = request.headers.authorization ?? ""',
    'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk',
    'integrity sha512-eyJhbGciOiJub25lIn0abcdefghijklmnopqrstuvwxyz0123456789ABCDEF==',
    'at Object.<anonymous> (/srv/app/node_modules/.pnpm/tsx@4.0.0/dist/index.cjs:12:34)',
    'eyJhIjoxfQ eyJ0ZXh0IjoiaGVsbG8ifQ.and.so',
  ]
  for (const text of texts) t.equal(masked(text), text)
  for (const text of texts) t.equal(inPieces(characters(text)), text)
})

t.test('gives the same secret the same mark within a session, and another one another', async (t) => {
  const one = masking()
  const session = new Session()
  const [first, second] = [...secretsOf(randomOf(1)), ...secretsOf(randomOf(2))].filter(
    ({ kind }) => kind === 'groq-key',
  )
  const text = `${first?.text} ${second?.text} ${first?.text}`
  t.equal(one.text(text, session), '[secret:groq-key] [secret:groq-key:2] [secret:groq-key]')
  t.equal(one.text(second?.text as string, session), '[secret:groq-key:2]')
  t.equal(session.changes, 2)
  t.equal(one.counts.get('groq-key'), 4)
  t.equal(one.text(second?.text as string, new Session()), '[secret:groq-key]', 'another session counts anew')
  const restored = new Session()
  restored.masks = new Masks()
  restored.masks.restore(session.masks?.kept() ?? {}, 'key')
  t.equal(one.text(second?.text as string, restored), '[secret:groq-key:3]', 'a mark is never given twice')
  t.notMatch(JSON.stringify(session.masks?.kept()), (first?.secret ?? '-').slice(5, 15))
})

t.test('what was masked stays as it is', async (t) => {
  const one = masking('all')
  const session = new Session()
  for (const { text } of secretsOf(randomOf(3))) {
    const once = one.text(`x ${text} y`, session)
    t.equal(one.text(once, session), once)
  }
})

t.test(
  'values: names of fields, nested data, names that are secrets; what has none is the same object',
  async (t) => {
    const one = masking()
    const session = new Session()
    const [token] = secretsOf(randomOf(5)).filter(({ kind }) => kind === 'github-token')
    const secret = token?.secret as string
    const plain = { a: [1, { b: 'text of some length', c: null }], d: true }
    t.equal(one.value(plain, session), plain)
    const given = { list: ['x', { deep: `use ${secret}` }], [secret]: 1, kept: plain }
    const made = one.value(given, session)
    t.same(made, {
      list: ['x', { deep: 'use [secret:github-token]' }],
      '[secret:github-token]': 1,
      kept: plain,
    })
    t.equal((made as { kept: unknown }).kept, plain, 'what has no secret is shared')
    t.same(
      one.value(
        {
          headers: {
            Authorization: 'Bearer abc123',
            cookie: 'theme=dark; sid=abcdef12345',
            'x-api-key': 'hello',
          },
          secretAccessKey: 'short',
        },
        session,
      ),
      {
        headers: {
          Authorization: 'Bearer [secret:authorization]',
          cookie: 'theme=dark; sid=[secret:cookie]',
          'x-api-key': '[secret:api-key]',
        },
        secretAccessKey: '[secret:aws-secret]',
      },
    )
    const before: JsonValue = { a: given, b: 1 }
    t.equal(one.value({ a: given, b: 2 }, session, before).a, given, 'what was there before is not looked at')
  },
)

t.test('all: values whose names say that they are secret', async (t) => {
  const text = 'DB_PASSWORD=hunter22x --token "abcdefg123" password: correcthorse; "api_key": "k-123456"'
  t.equal(masked(text), text)
  const one = masking('all')
  t.equal(
    masked(text, one),
    'DB_PASSWORD=[secret:named-value] --token "abcdefg123" password: [secret:named-value:2]; "api_key": "[secret:named-value:3]"',
  )
  t.same(one.value({ password: 'hunter22', db_password: 'x2345', note: 'hunter22' }, new Session()), {
    password: '[secret:named-value]',
    db_password: '[secret:named-value:2]',
    note: 'hunter22',
  })
  t.equal(inPieces(characters('a secret=hunter22x b'), one), 'a secret=[secret:named-value] b')
})

t.test("the user's own patterns: RE2 alone, bounded, also over pieces", async (t) => {
  const one = masking('shapes', [
    { kind: 'staff-id', pattern: '\\bEMP-[0-9]{6}\\b' },
    { kind: 'pin', pattern: 'pin=([0-9]{4})' },
  ])
  t.equal(masked('EMP-123456 and pin=1234, EMP-12', one), '[secret:staff-id] and pin=[secret:pin], EMP-12')
  const text = 'of EMP-123456 here'
  for (let cut = 0; cut <= text.length; cut++) {
    t.equal(inPieces([text.slice(0, cut), text.slice(cut)], one), 'of [secret:staff-id] here')
  }
  for (const [pattern, message] of [
    ['(a', /^masking\.patterns\.x: expected a regular expression of RE2, /],
    ['a*', /^masking\.patterns\.x: it matches the empty text/],
    ['(?:a{100}){100}', /^masking\.patterns(\.x)?: expected/],
  ] as const) {
    t.throws(() => masking('shapes', [{ kind: 'x', pattern }]), { name: 'TypeError', message })
  }
  t.throws(() => masking('shapes', [{ kind: 'X y', pattern: 'a' }]), /expected a kind/)
})

t.test(
  'registered values: found in any text and spelling, cut anywhere, kept without their text',
  async (t) => {
    const one = masking()
    const session = new Session()
    const value = 'correct "horse" / battery'
    session.know('db-password', value)
    session.know('other', 'correct "horse" and more')
    const spellings = [
      value,
      JSON.stringify(value).slice(1, -1),
      encodeURIComponent(value),
      Buffer.from(value).toString('base64'),
    ]
    for (const spelling of spellings) {
      const text = `aaa${spelling}bbb`
      t.equal(one.text(text, session), 'aaa[secret:db-password]bbb')
      for (let cut = 0; cut <= text.length; cut++) {
        t.equal(inPieces([text.slice(0, cut), text.slice(cut)], one, session), 'aaa[secret:db-password]bbb')
      }
      t.equal(inPieces(characters(text), one, session), 'aaa[secret:db-password]bbb')
    }
    const kept = session.masks?.kept()
    t.notMatch(JSON.stringify(kept), /horse|battery/)
    const restored = new Session()
    restored.masks = new Masks()
    restored.masks.restore(kept ?? {}, 'key')
    t.equal(one.text(`x${value}y`, restored), 'x[secret:db-password]y')
    t.equal(one.text(`x${value}y`, new Session()), `x${value}y`, 'another session knows nothing of it')
    fc.assert(
      fc.property(
        fc.string({ minLength: valueLengthMin, maxLength: 40 }),
        fc.string(),
        fc.string(),
        (text, before, after) => {
          const own = new Session()
          own.know('v', text)
          return !one.text(`${before}${text}${after}`, own).includes(text)
        },
      ),
      { numRuns: 300 },
    )
  },
)

t.test('marks do not make a text of many secrets long, and hostile texts take no long time', async (t) => {
  const one = masking()
  const many = Array.from({ length: 2_000 }, (_, index) => `redis://b:${index}@cache`)
  const made = one.value(many, new Session())
  t.ok(JSON.stringify(made).length < JSON.stringify(many).length + 1_000 * 40)
  t.notMatch(JSON.stringify(made), /:1999@/)
  for (const piece of [
    'sk-',
    'eyJ.',
    'eyJ',
    '://',
    'x://a:',
    'cookie:',
    'Cookie: a=',
    '-----BEGIN ',
    'AccountKey=',
    'ghp_',
    ':AA',
    'Authorization: ',
    '\\u',
    'Password=;',
  ])
    t.ok(masked(piece.repeat(100_000)).length > 0, piece)
})

t.test(
  'a private key that comes too slowly is masked as far as it has come, and what follows of it, too',
  async (t) => {
    const [key] = secretsOf(randomOf(4)).filter(({ kind }) => kind === 'private-key')
    const whole = `${key?.secret}\nafter`
    const one = masking()
    const session = new Session()
    const text = new TailedText()
    const pieces = whole.match(/[^]{1,50}/g) ?? []
    const shown = pieces.map((piece) => text.add(piece, one, session) + text.release(one, session)).join('')
    for (const line of (key?.secret ?? '').split('\n').slice(2, -1)) t.notMatch(shown, line.slice(0, 20))
    t.match(shown, /after$/)
  },
)

t.test('JSON text that is found plain has no secret once it is parsed, however it is written', async (t) => {
  const random = randomOf(11)
  const one = masking()
  const surroundings = [
    ['', ''],
    ['see: ', ' and so on'],
    ['first\nsecond\t', '\n'],
    ['{"text":"', '"}'],
    ['caf\u00e9 \u001b[31m', '\u001b[0m'],
    ['C:\\dir\\', '\\end'],
    ['nothing/', ''],
  ] as const
  /** Writes some characters as escapes, as any encoder may. */
  const escaped = (json: string): string =>
    json.replaceAll(/\\(?:u[0-9a-f]{4}|.)|[a-zA-Z0-9/]/g, (part) => {
      if (part.length > 1 || random() > 0.05) return part
      if (part === '/') return '\\/'
      return `\\u${part.charCodeAt(0).toString(16).padStart(4, '0')}`
    })
  for (let seed = 1; seed <= 5; seed++) {
    for (const { kind, text } of secretsOf(randomOf(seed))) {
      for (const [before, after] of surroundings) {
        const whole = `${before}${text}${after}`
        const data: JsonValue = { deep: [{ text: whole }], nested: JSON.stringify({ whole }) }
        const plain = JSON.stringify({ type: 'note', data: 'nothing of interest' })
        for (const json of [
          JSON.stringify({ data }),
          JSON.stringify({ data: { [whole]: 1 } }),
          escaped(JSON.stringify({ data: { content: whole } })),
        ]) {
          const value = JSON.parse(json) as JsonValue
          if (one.value(value, new Session()) === value) continue
          const bytes = Buffer.from(`${plain}\n${json}\n${plain}\n`)
          if (isPlainJson(bytes) && one.isPlainValue(value, { masks: undefined }))
            t.fail(`${kind} in ${json} was not seen`)
        }
      }
    }
  }
  for (const name of ['cookie', 'X-Api-Key', 'set_cookie', 'Authorization']) {
    const value = { headers: [{ [name]: 'a=b; c=defghi' }] }
    t.notOk(
      isPlainJson(Buffer.from(JSON.stringify(value))) && one.isPlainValue(value, { masks: undefined }),
      name,
    )
  }
  const prose = {
    type: 'llm_text_delta',
    data: { content: 'It says: “no such file”, https://a.example/b?c=d.' },
  }
  t.ok(isPlainJson(Buffer.from(JSON.stringify(prose))), 'most texts are plain')
  t.ok(one.isPlainValue(prose, { masks: undefined }))
  t.notOk(masking('all').isPlainValue(prose, { masks: undefined }), 'names are looked for otherwise')
  const session = new Session()
  session.know('password', 'no such file')
  t.notOk(one.isPlainValue(prose, session), 'so are registered values')
})

t.test('checksums of GitHub and npm', async (t) => {
  t.equal(tokenChecksum('zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ'), '0mLq17')
  t.ok(hasChecksum('zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17'))
  t.notOk(hasChecksum('zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq18'))
})

t.test('changes fewer than 1 of 100,000 ordinary events: code, prose, hashes, ids, addresses', async (t) => {
  const root = fileURLToPath(new URL('../../', import.meta.url))
  // What is about secrets has some.
  const paths = ['src', 'docs', 'scripts'].flatMap((folder) =>
    readdirSync(root + folder, { recursive: true, encoding: 'utf8' })
      .filter(
        (path) =>
          /\.(?:tsx?|md|css|json)$/.test(path) &&
          !/secrets|mask|redact|tokens?|threats|access|cluster/.test(path),
      )
      .map((path) => `${root}${folder}/${path}`),
  )
  const lines = [...paths, `${root}package-lock.json`].flatMap((path) =>
    readFileSync(path, 'utf8').split('\n'),
  )
  t.ok(lines.length > 50_000, `${lines.length} lines`)
  const random = randomOf(21)
  const some = (characters: string, length: number) =>
    Array.from({ length }, () => characters[Math.floor(random() * characters.length)]).join('')
  const [hex, base64] = [
    '0123456789abcdef',
    'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
  ]
  const others = [
    () => `commit ${some(hex, 40)}`,
    () => `${some(hex, 8)}-${some(hex, 4)}-${some(hex, 4)}-${some(hex, 4)}-${some(hex, 12)}`,
    () => `sha256:${some(hex, 64)}`,
    () => `"integrity": "sha512-${some(base64, 86)}=="`,
    () => `https://example.com/${some(hex, 8)}/${some(base64.slice(0, 62), 22)}?page=${some(hex, 3)}`,
    () => `data:image/png;base64,${some(base64, 200)}`,
    () => `call_${some(base64.slice(0, 62), 24)} msg_${some(base64.slice(0, 62), 24)} req_${some(hex, 24)}`,
    () => `/tmp/${some(hex, 12)}/node_modules/.pnpm/${some(hex, 20)}/index.js:${some('123456789', 3)}`,
  ]
  const one = masking()
  const session = new Session()
  const changed: JsonValue[] = []
  for (let number = 0; number < 100_000; number++) {
    const text =
      number % 2 === 0
        ? (lines[(number * 7) % lines.length] as string)
        : (others[(number % 16) >> 1] as () => string)()
    const data = { text, index: number, id: some(hex, 16) }
    if (one.value(data, session) !== data) changed.push(text)
  }
  t.same(changed, [])
})
