import { Jobs } from './jobs.jsx'

export default function Page() {
  return (
    <main>
      <h1>Jobs</h1>
      <Jobs />
    </main>
  )
}
