import type { FaultProxy } from '../helpers/fault-proxy/fault-proxy.js'
import type { RegistryUpstream } from '../helpers/registry-upstream.js'
import { PUSHER, TokenService } from '../helpers/token-service.js'
import type { Stage } from './stage.js'
import { WORLD } from './world.js'

/** A registry that wants tokens, with the content of another one that wants none. */
export interface Guarded {
  registry: RegistryUpstream
  tokens: TokenService
  /** Stands in front of the token service. */
  door: FaultProxy
}

/** The credentials that its token service knows, as mirrors.yaml has them. */
export const CREDENTIALS = { username: PUSHER.name, password: PUSHER.password }
export const BASIC = `Basic ${Buffer.from(`${PUSHER.name}:${PUSHER.password}`).toString('base64')}`

/**
 * For the rest of a file; to be ended by its `tokens.stop()`.
 *
 * @param content the registry of the stage whose content it has
 */
export async function startGuarded(stage: Stage<string>, content = 'main'): Promise<Guarded> {
  const tokens = await TokenService.start(stage.folder, WORLD.upstreams)
  const door = await stage.addProxy({ name: 'tokens', target: tokens.url })
  tokens.realm = `${door.url}/token`
  const registry = await stage.addRegistry('guarded', { storage: stage.storageOf(content), tokens })
  return { registry, tokens, door }
}
