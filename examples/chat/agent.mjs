/** Answers what is said in the chat, word by word. Stop it and start it again: nobody who has the page open notices more. */
import { setTimeout as pause } from 'node:timers/promises'
import { connect } from '@runcast/client'

const client = connect(process.env.RUNCAST_HUB ?? 'http://127.0.0.1:4600')
const topic = `sessions/${process.argv[2] ?? 'chat-1'}`
/** Aborted when somebody stops the agent. */
let stopping = new AbortController()

/** Here an agent would call its model. */
async function* answerTo(text) {
  const words = `You said “${text}”. This answer comes word by word, and everybody who has the chat open sees it grow.`
  for (const word of words.split(/(?<= )/)) {
    yield word
    await pause(40)
  }
}

async function answer({ data, offset }, signal) {
  // What is added within a short time is published in one request.
  const batch = client.batch(topic)
  const add = (content) => batch.add({ type: 'client_output_delta', data: { content, message: offset } })
  for await (const content of answerTo(data.text)) {
    if (signal.aborted) break
    add(content)
  }
  if (signal.aborted) add('(stopped)')
  await batch.close()
}

// A subscription that names commands is that of an agent: it is not counted as a viewer.
client.subscribe(
  { topic, types: ['chat.said', 'command.cancel'], replay: false },
  {
    onEvent(event) {
      if (event.type === 'chat.said') void answer(event, stopping.signal)
      else if (event.type === 'command.cancel') {
        stopping.abort()
        stopping = new AbortController()
        void client.publish(topic, { type: 'command.done', data: { offset: event.offset, state: 'applied' } })
      }
    },
    onEnd: ({ reason }) => console.log(reason),
  },
)
console.log(`answers in ${topic}`)
