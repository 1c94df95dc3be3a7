// Some tests take long on a busy machine; those with a time limit of their own keep it.
export default { test: { testTimeout: 60_000, include: ['suite.test.mjs'] } }
