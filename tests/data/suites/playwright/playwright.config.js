module.exports = { testDir: 'tests', retries: Number(process.env.SAMPLE_RETRIES ?? 0), projects: [{ name: 'one' }, { name: 'two' }] };
