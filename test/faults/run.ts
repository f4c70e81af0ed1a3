import { runIsolated } from '../helpers/namespaces.js'

/** `npm run test:faults [vitest arguments]`, as root. */
await runIsolated({
  name: 'faults',
  needed: {
    'docker-registry': 'docker-registry',
    openssl: 'openssl',
    iptables: 'iptables',
    mount: 'util-linux',
  },
})
