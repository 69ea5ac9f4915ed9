import Glibc

/// What users do at the same time: fio, sqlite and git, each of which knows whether its data is right.
final class MixedLoad {
    private let client: Host
    private let seed: UInt64
    private let fio: [String]
    private var loads: [Load] = []
    private static let rowsEach = 20

    init(_ client: Host, seed: UInt64) throws {
        self.client = client
        self.seed = seed
        try check(mkdir(client("fio"), 0o755))
        fio = [
            "fio", "--name=job", "--directory=" + client("fio"), "--size=8M", "--bsrange=4k-128k", "--rw=randwrite",
            "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--fsync=16", "--ioengine=psync", "--rate=6m",
            "--fallocate=none", "--verify_state_save=0",
        ]
        let script = "PRAGMA journal_mode=wal; CREATE TABLE t(i INTEGER PRIMARY KEY, b BLOB);"
        try client.tool("sqlite3", "-bail", client("base"), script)
        try client.tool("git", "init", "-q", client("repository"))
    }

    func start() -> [Load] {
        let (commands, fio, seed) = (client.commands, fio, seed)
        let (base, repository, script) = (client("base"), client("repository"), client.local("script"))
        let limit = Duration.seconds(120)
        loads = [
            Load("fio") { round in try commands.tool(fio + ["--randseed=\(round + 1)"], limit: limit) },
            Load("sqlite", pause: 50_000) { round in
                var text = "PRAGMA synchronous=FULL;\n"
                for row in round * Self.rowsEach..<(round + 1) * Self.rowsEach {
                    text += "BEGIN; INSERT INTO t VALUES(\(row), randomblob(\(row * 13 % 5000)));"
                    text += "UPDATE t SET b = randomblob(50) WHERE i = \(row / 2); COMMIT;\n"
                }
                try writeFile(script, Array(text.utf8))
                try commands.tool(["sqlite3", "-bail", base], input: script, limit: limit)
            },
            Load("git", pause: 50_000) { round in
                for file in 0..<5 {
                    let bytes = randomBytes(100 + round * 37 % 20_000, seed: seed &+ UInt64(round * 5 + file))
                    try writeFile("\(repository)/f\((round + file * 7) % 40)", bytes)
                }
                try commands.tool(["git", "-C", repository, "add", "-A"], limit: limit)
                try commands.tool(["git", "-C", repository, "commit", "-q", "-m", "\(round)"], limit: limit)
                if round % 50 == 49 { try commands.tool(["git", "-C", repository, "gc", "-q"], limit: limit) }
            },
        ]
        return loads
    }

    /// Once nothing runs any more: all that these programs did is there, as they see it.
    func requireWhole() throws {
        let rounds = try loads.map { try $0.stop() }
        if rounds[0] > 0 {
            try client.commands.tool(fio + ["--randseed=\(rounds[0])", "--verify_only=1"], limit: .seconds(120))
        }
        let rows = rounds[1] * Self.rowsEach
        let answer = try client.tool("sqlite3", client("base"), "PRAGMA integrity_check; SELECT count(*) FROM t;")
        guard answer == "ok\n\(rows)\n" else { throw Failure("sqlite: \(answer), for \(rows) rows") }
        try client.tool("git", "-C", client("repository"), "fsck", "--full", "--strict")
        guard rounds[2] > 0 else { return }
        let commits = try client.tool("git", "-C", client("repository"), "rev-list", "--count", "HEAD")
        guard commits == "\(rounds[2])\n" else { throw Failure("git: \(commits) commits of \(rounds[2])") }
        guard try client.tool("git", "-C", client("repository"), "status", "--porcelain").isEmpty else {
            throw Failure("git: the files are not what was committed")
        }
    }
}
