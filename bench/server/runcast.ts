// Runcast with its store in memory.
import { competeAsRuncast } from './hub.js'

await competeAsRuncast('memory')
