const HOST = /^(?=.*[.:]|localhost$)[a-z0-9]+(?:[.-][a-z0-9]+)*(?::([0-9]{1,5}))?$/

/** Whether `name` can name a registry: a host that no first component of a repository name could be, lower case. */
export function isHost(name: string): boolean {
  const match = HOST.exec(name)
  return match !== null && Number(match[1] ?? 1) <= 65_535
}

/** An upstream without a name is called by its host. */
export function upstreamName(name: unknown, url: unknown): string | undefined {
  if (name !== undefined) return typeof name === 'string' ? name : undefined
  return typeof url === 'string' && URL.canParse(url) ? new URL(url).host : undefined
}
