// Loaded before each file of tests.
import { endChildrenWithUs } from './children.js'

endChildrenWithUs('RUNCAST_TEST_FILE')
// tap's part in each process that a test starts serves coverage alone, and costs a quarter of a second of CPU.
if (process.env._TAPJS_PROCESSINFO_COVERAGE_ === '0') {
  process.env.NODE_OPTIONS = process.env.NODE_OPTIONS?.replace(
    /"?--import=\S*\/@tapjs\/processinfo\/\S*/g,
    '',
  ).trim()
}
