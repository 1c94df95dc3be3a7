import t from 'tap'
import { Meanings, parseDialogues } from './dialogue.js'

const page = `# Page
text
\`\`\`ts
> not a dialogue
\`\`\`

### ping
\`\`\`dialogue
> {"type":"ping","ref":1}
< {"type":"pong","ref":1}
other< {"type":"welcome","connection":"<connection>"}
\`\`\`
`

t.test('reads the dialogues of a page, with their heading and line', async (t) => {
  t.strictSame(parseDialogues(page), [
    {
      heading: 'ping',
      line: 9,
      lines: [
        { from: 'client', connection: '', frame: { type: 'ping', ref: 1 } },
        { from: 'hub', connection: '', frame: { type: 'pong', ref: 1 } },
        { from: 'hub', connection: 'other', frame: { type: 'welcome', connection: '<connection>' } },
      ],
    },
  ])
})

t.test('names the line that is not of the form', async (t) => {
  for (const bad of ['ping', '> {"type":', '> 7', '>{"type":"ping"}']) {
    t.throws(() => parseDialogues(`\`\`\`dialogue\n${bad}\n\`\`\``), { message: /line 2: / }, bad)
  }
  t.throws(() => parseDialogues('## pong\n```dialogue\n> {}'), { message: /"pong" is not closed/ })
})

t.test('a placeholder stands for one value, except where each differs', async (t) => {
  const meanings = new Meanings()
  const expected = { epoch: '<epoch>', events: [{ time: '<time>' }, { time: '<time>' }] }
  t.strictSame(meanings.compare(expected, { epoch: 'e1', events: [{ time: 5 }, { time: 6 }] }), [])
  t.strictSame(meanings.compare({ epoch: '<epoch>' }, { epoch: 'e2' }), [
    '/epoch: <epoch> was "e1", got "e2"',
  ])
  t.strictSame(meanings.fill({ sub: 1, after: '<epoch>:0', epoch: '<epoch>' }), {
    sub: 1,
    after: 'e1:0',
    epoch: 'e1',
  })
  t.throws(() => meanings.fill({ after: '<first>:0' }), { message: /<first> is used before/ })
})

t.test('offsets stand for those of the hub, in the same order', async (t) => {
  const meanings = new Meanings()
  t.strictSame(
    meanings.compare({ epoch: '<epoch>', after: 0, last: 2 }, { epoch: 'e', after: 1, last: 4 }),
    [],
  )
  t.strictSame(meanings.compare({ offset: 2 }, { offset: 4 }), [])
  t.strictSame(meanings.fill({ after: '<epoch>:2' }), { after: 'e:4' })
  t.strictSame(meanings.compare({ offset: 2 }, { offset: 5 }), ['/offset: 5 is out of place as offset 2'])
  t.strictSame(meanings.compare({ offset: 1 }, { offset: 9 }), ['/offset: 9 is out of place as offset 1'])
})

t.test('what is missing, added or another is a difference', async (t) => {
  const differences = (expected: object, came: object): string[] =>
    new Meanings().compare(expected as never, came as never)
  t.strictSame(differences({ sub: 1 }, {}), ['/sub: expected 1, got nothing'])
  t.strictSame(differences({}, { sub: 1 }), ['/sub: expected nothing'])
  t.strictSame(differences({ sub: 1 }, { sub: 2 }), ['/sub: expected 1, got 2'])
  t.strictSame(differences({ events: [1] }, { events: [] }), [
    '/events: expected 1, got 0',
    '/events/0: expected 1, got nothing',
  ])
  t.strictSame(differences({ data: { last: 3 } }, { data: { last: 4 } }), ['/data/last: expected 3, got 4'])
  t.strictSame(differences({ data: null }, { data: {} }), ['/data: expected null, got {}'])
})
