/** A vitest reporter that hands the counts, and the reasons of skipped tests, to scripts/test.mjs. */
import { writeFileSync } from 'node:fs'

export default class CountingReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 }
    const skips = []
    for (const module of modules) {
      let failures = 0
      for (const test of module.children.allTests()) {
        const result = test.result()
        if (result.state === 'pending') counts.failed++
        else counts[result.state]++
        if (result.state === 'failed') failures++
        if (result.state === 'skipped')
          skips.push(`${module.relativeModuleId}: ${test.fullName}${result.note ? ` (${result.note})` : ''}`)
      }
      // A file that could not be loaded, or a failed hook, has no failed test to show for it.
      if (!module.ok() && failures === 0) counts.failed++
    }
    writeFileSync(process.env.VLM2VEC_TEST_COUNTS, JSON.stringify({ counts, skips }))
  }
}
