// basic_ftp.js SERVER HOST: what basic-ftp can do, as tests; prints {test: {outcome, reason}}.
//
// A client of its own for each test, so that each one fails alone.

const ftp = require("basic-ftp")
const { Readable, Writable } = require("stream")

const [server, host] = process.argv.slice(2)
const TIMEOUT = 8000

class Sink extends Writable {
    constructor() {
        super()
        this.parts = []
    }
    _write(chunk, encoding, done) {
        this.parts.push(chunk)
        done()
    }
    get bytes() {
        return Buffer.concat(this.parts)
    }
}

function same(one, other) {
    if (!one.equals(other)) throw new Error(`${one.length} bytes came in place of ${other.length}`)
}

const CONTENT = Buffer.from("a line of text\r\n".repeat(5000))

async function storeAndFetch(client) {
    await client.uploadFrom(Readable.from([CONTENT]), "upload/stored.bin")
    const sink = new Sink()
    await client.downloadTo(sink, "upload/stored.bin")
    same(sink.bytes, CONTENT)
    await client.remove("upload/stored.bin")
}

const TESTS = {
    "list": async client => {
        const found = await client.list("pub")
        if (!found.some(file => file.name === "small.bin")) throw new Error("no such file")
    },
    "store and fetch": storeAndFetch,
    "fetch from an offset": async client => {
        await client.uploadFrom(Readable.from([CONTENT]), "upload/offset.bin")
        const sink = new Sink()
        await client.downloadTo(sink, "upload/offset.bin", 1000)
        same(sink.bytes, CONTENT.subarray(1000))
        await client.remove("upload/offset.bin")
    },
    "append": async client => {
        await client.uploadFrom(Readable.from([CONTENT]), "upload/longer.bin")
        await client.appendFrom(Readable.from([CONTENT]), "upload/longer.bin").catch(error => {
            // vsftpd's anonymous users may not.
            if (error.code !== 550 && error.code !== 553) throw error
        })
        await client.remove("upload/longer.bin")
    },
    "many transfers in one session": async client => {
        for (let round = 0; round < 20; round++) await storeAndFetch(client)
    },
    "fetch what does not exist, then transfer": async client => {
        const refused = await client.downloadTo(new Sink(), "pub/nothing").then(
            () => false, () => true)
        if (!refused) throw new Error("a file that does not exist came")
        await storeAndFetch(client)
    },
    "features, size and date": async client => {
        await client.features()
        await client.size("pub/small.bin")
        await client.lastMod("pub/small.bin").catch(() => {})
        await client.send("NOOP")
        await storeAndFetch(client)
    },
}

const MODES = {
    // EPSV first. A PASV reply has to name the host that the client dialled, or it is refused.
    "either": () => {},
    "EPSV": client => { client.prepareTransfer = ftp.enterPassiveModeIPv6 },
    "PASV": client => { client.prepareTransfer = ftp.enterPassiveModeIPv4 },
}

async function run(test, mode) {
    const client = new ftp.Client(TIMEOUT)
    MODES[mode](client)
    try {
        await client.access({ host, user: process.env.FTP_USER, password: process.env.FTP_PASSWORD })
        await TESTS[test](client)
        return { outcome: "passed", reason: "" }
    } catch (error) {
        return { outcome: "failed", reason: String(error) }
    } finally {
        client.close()
    }
}

async function main() {
    const results = {}
    for (const mode of Object.keys(MODES)) {
        for (const test of Object.keys(TESTS)) {
            results[`${server}/${mode}/${test}`] = await run(test, mode)
        }
    }
    console.log(JSON.stringify(results))
}

main()
