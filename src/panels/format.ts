/**
 * @param precision `coarse` where only the order matters: `now`, `12 s`, `3 min`
 * @returns `0.4 s`, `12 s`, `3 min 05 s`, `2 h 04 min`, `3 d 04 h`
 */
export function durationText(ms: number, precision: 'fine' | 'coarse' = 'fine'): string {
  const seconds = Math.max(0, ms) / 1000
  if (precision === 'coarse') return coarseText(seconds)
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 60) return `${Math.floor(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0')
  if (minutes < 60) return `${minutes} min ${two(seconds % 60)} s`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return `${hours} h ${two(minutes % 60)} min`
  return `${Math.floor(hours / 24)} d ${two(hours % 24)} h`
}

function coarseText(seconds: number): string {
  if (seconds < 60) return `${Math.floor(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  return minutes < 48 * 60 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1_440)} d`
}

// Made once: what makes them takes as long as formatting a hundred times.
const moment = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'long' })
const shortDay = new Intl.DateTimeFormat('en', { month: 'short', day: 'numeric' })
const day = new Intl.DateTimeFormat('en', { dateStyle: 'full' })

/** @returns the date and the time of day with the zone, where the reader is */
export function timeText(time: number): string {
  return moment.format(time)
}

/** @returns the time of day, to the minute, where the reader is; with the date where that is not today's */
export function sinceText(time: number, now: number): string {
  const date = new Date(time)
  const clock = clockText(time).slice(0, 5)
  if (date.toDateString() === new Date(now).toDateString()) return clock
  return `${shortDay.format(date)}, ${clock}`
}

/** @returns the date, where the reader is */
export function dayText(time: number): string {
  return day.format(time)
}

/** @returns events a second */
export function rateText(perSecond: number): string {
  if (perSecond === 0) return '0/s'
  return perSecond < 10 ? `${perSecond.toFixed(1)}/s` : `${Math.round(perSecond).toLocaleString('en')}/s`
}

export function countText(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`
}

/** @returns the time of day, to the second, where the reader is */
export function clockText(time: number): string {
  const date = new Date(time)
  const two = (value: number): string => String(value).padStart(2, '0')
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
}
