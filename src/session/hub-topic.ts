import type { History } from '../history/history.js'
import type { TopicName } from '../protocol/topic.js'
import { StatefulTopic } from './topic.js'

/** The topic `hub`, which has only slices. */
export class HubTopic extends StatefulTopic {
  readonly worker = undefined

  override get parsedName(): TopicName {
    return { kind: 'hub' }
  }

  override get dropped(): number {
    return 0
  }

  override droppedAfter(): number {
    return 0
  }

  override get droppableTotal(): number {
    return 0
  }

  override shows(): boolean {
    return false
  }

  protected override histories(): readonly History[] {
    return []
  }
}
