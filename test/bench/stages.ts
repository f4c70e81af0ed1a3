import { busy } from './busy.js'
import { clients } from './clients.js'
import { cold } from './cold.js'
import { docker } from './docker.js'
import { hot } from './hot.js'
import { memory } from './memory.js'
import { mirrors } from './mirrors.js'
import { pushes } from './pushes.js'
import type { Stage } from './stage.js'
import { starts } from './starts.js'

/** In the order in which they are measured. */
export const STAGES: readonly Stage[] = [hot, cold, pushes, memory, clients, docker, starts, busy, mirrors]
