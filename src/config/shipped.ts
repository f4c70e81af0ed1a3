import { BROKEN, isMap } from './issues.js'
import { isHost } from './names.js'

/** The built-in registries, as they would be written in a file; `mirrors.yaml` says the same. */
const SHIPPED: Record<string, { default?: boolean; upstreams: Record<string, string>[] }> = {
  'docker.io': {
    default: true,
    upstreams: [
      {
        name: 'hub',
        url: 'https://registry-1.docker.io',
        role: 'origin',
        username: '${HUB_USER:-}',
        password: '${HUB_TOKEN:-}',
      },
    ],
  },
  'ghcr.io': origin('ghcr', 'https://ghcr.io'),
  'quay.io': origin('quay', 'https://quay.io'),
  'registry.k8s.io': origin('k8s', 'https://registry.k8s.io'),
  'gcr.io': origin('gcr', 'https://gcr.io'),
  'mcr.microsoft.com': origin('mcr', 'https://mcr.microsoft.com'),
}

/** Names that clients and older documents use for Docker Hub. */
export const DOCKER_HUB = 'docker.io'
export const DOCKER_HUB_ALIASES = ['index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com']

/**
 * Brings what was read into the schema's shape: a key with nothing behind it counts as left out, registries and
 * upstreams that are left out are the shipped ones, a registry that is not shipped is its own origin, and the proxy that
 * the environment names is the default.
 */
export function fillIn(written: unknown): unknown {
  const content = dropEmpty(written ?? {})
  if (!isMap(content)) return content
  const root: Record<string, unknown> = { ...content, upstream: withProxy(content.upstream ?? {}) }
  if (root.registries === undefined) return { ...root, registries: SHIPPED }
  if (!isMap(root.registries)) return root
  const registries = Object.fromEntries(
    Object.entries(root.registries).map(([name, registry]) => [name, withUpstreams(name, registry)]),
  )
  return { ...root, registries }
}

/** The way out that the environment names, unless the file names one. */
function withProxy(upstream: unknown): unknown {
  return isMap(upstream) ? { proxy: '${HTTPS_PROXY:-}', noProxy: '${NO_PROXY:-}', ...upstream } : upstream
}

function withUpstreams(name: string, registry: unknown): unknown {
  // `ghcr.io:` with nothing behind it: everything by default.
  const given = registry === null ? {} : registry
  if (!isMap(given) || given.upstreams !== undefined) return given
  if (SHIPPED[name]) return { ...given, upstreams: SHIPPED[name].upstreams }
  return { ...given, upstreams: [{ url: isHost(name) ? `https://${name}` : BROKEN, role: 'origin' }] }
}

function origin(name: string, url: string) {
  return { upstreams: [{ name, url, role: 'origin' }] }
}

function dropEmpty(value: unknown, key?: string): unknown {
  if (Array.isArray(value)) return value.map((item) => dropEmpty(item))
  if (!isMap(value)) return value
  return Object.fromEntries(
    Object.entries(value)
      .map(([name, item]): [string, unknown] => [name, emptied(item, name, key)])
      .filter(([, item]) => item !== undefined),
  )
}

/** A list of upstreams whose lines are all commented out was meant as a list, and a registry's name is no empty key. */
function emptied(item: unknown, name: string, parent: string | undefined): unknown {
  if (item !== null) return dropEmpty(item, name)
  if (name === 'upstreams') return []
  return parent === 'registries' ? null : undefined
}
