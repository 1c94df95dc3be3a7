// Loaded before each file of tests.
import { endChildrenWithUs } from './children.js'

endChildrenWithUs('RUNCAST_TEST_FILE')
