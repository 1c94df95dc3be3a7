// Runcast with the store that `runcast serve` has unless told otherwise.
import { competeAsRuncast } from './hub.js'

await competeAsRuncast('lmdb')
