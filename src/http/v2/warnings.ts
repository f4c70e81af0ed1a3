import type { FastifyReply } from 'fastify'

/** Adds what people should be told (distribution specification, Warnings): sentences without quotes, a few of them. */
export function warn(reply: FastifyReply, warnings: readonly string[]): void {
  if (warnings.length > 0) reply.header('warning', warnings.map((text) => `299 - "${text}"`).join(', '))
}
