/** Names of models on the Hugging Face hub: `owner/name`, or `owner/name@revision` for a branch, tag or commit. */
export interface HubId {
  /** `owner/name` */
  repository: string
  revision: string
}

/** Undefined: the text is no name of a model. */
export function parseHubId(text: string): HubId | undefined {
  const match = /^([\w-][\w.-]*\/[\w-][\w.-]*)(?:@([\w-][\w./-]*))?$/.exec(text)
  if (!match || text.includes('..')) return undefined
  return { repository: match[1]!, revision: match[2] ?? 'main' }
}
