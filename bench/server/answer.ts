import { benchSession } from '../harness/event.js'
import { readTokens } from '../harness/tokens.js'

/** Of the built-in catalog: those who join late get all retained ones, merged. */
export const answerType = 'client_output_delta'
export const answerTopic = `sessions/${benchSession}`
export const answerTokens = 1_000

/** @returns text `number` of a long answer, counted from 1. */
export function answerToken(number: number): string {
  const { texts } = answer
  return texts[number % texts.length] as string
}

/** @returns what those who join late are due. */
export function answerText(): string {
  return Array.from({ length: answerTokens }, (_, index) => answerToken(index + 1)).join('')
}

const answer = readTokens()
