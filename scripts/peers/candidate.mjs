/** The side of a candidate in JavaScript: the first line names the job, each further one asks for a run. */
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

export async function candidate(open) {
  let run
  for await (const line of createInterface({ input: process.stdin })) {
    const message = JSON.parse(line)
    if (!run) {
      const job = await open(message)
      const output = await job.run()
      writeFileSync(message.outputFile, Buffer.from(output.buffer, output.byteOffset, output.byteLength))
      run = job.run
      console.log(JSON.stringify({ ready: true, versions: job.versions }))
    } else {
      const start = performance.now()
      await run()
      console.log(JSON.stringify({ seconds: (performance.now() - start) / 1000, peak_mib: peakMib() }))
    }
  }
}

function peakMib() {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024
  } catch {
    return process.resourceUsage().maxRSS / 1024
  }
}
