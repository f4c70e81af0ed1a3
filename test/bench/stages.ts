import { hot } from './hot.js'
import type { Stage } from './stage.js'

/** In the order in which they are measured. */
export const STAGES: readonly Stage[] = [hot]
