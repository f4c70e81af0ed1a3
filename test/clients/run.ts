import { runIsolated } from '../helpers/namespaces.js'
import { buildGoClients } from './go-clients.js'
import { debianRootFs } from './rootfs.js'

/** `npm run test:clients [vitest arguments]`, as root. */
await runIsolated({
  name: 'clients',
  needed: {
    dockerd: 'docker.io',
    docker: 'docker.io',
    containerd: 'containerd',
    ctr: 'containerd',
    podman: 'podman',
    buildah: 'buildah',
    skopeo: 'skopeo',
    umoci: 'umoci',
    runc: 'runc',
    busybox: 'busybox-static',
    'docker-registry': 'docker-registry',
    debootstrap: 'debootstrap',
    openssl: 'openssl',
    iptables: 'iptables',
    nsenter: 'util-linux',
    tar: 'tar',
    go: 'golang-go',
  },
  environment: async () => ({
    ENTREPOT_CLIENTS_ROOTFS: await debianRootFs(),
    ENTREPOT_GO_CLIENTS: await buildGoClients(),
  }),
})
