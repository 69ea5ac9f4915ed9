import Glibc
import SystemPackage
import Testing

@Suite("What a server holds", .serialized, .enabled(if: Machine.canMount))
struct ServerSideTests {
    @Test("a full server refuses new data, keeps the old, and has room again after a deletion")
    func capacity() throws {
        try onHost(serve: ["--capacity", "96M", "--quarantine", "1s"]) { host in
            let early = randomBytes(5_000_000, seed: 1)
            try writeFile(host("early"), early, sync: true)
            let piece = randomBytes(1 << 20, seed: 2)
            let error = failure {
                try withFile(host("huge"), O_WRONLY | O_CREAT) { file in
                    for _ in 0..<200 { try writeAll(file, piece[...]) }
                    try check(fsync(file))
                }
            }
            try #require(error == .noSpace)
            try #require(try contents(host("early")) == early)
            try #require(try Self.bytesOnDisk(host.data) < 110 << 20)
            try check(unlink(host("huge")))
            let shrunk = eventually(.seconds(30), every: 200_000) {
                ((try? Self.bytesOnDisk(host.data)) ?? .max) < 48 << 20
            }
            let left = try Self.bytesOnDisk(host.data)
            try #require(shrunk, "the server's folder does not shrink: \(left) bytes")
            let late = randomBytes(40_000_000, seed: 3)
            try writeFile(host("late"), late, sync: true)
            try host.remount()
            try #require(try contents(host("early")) == early)
            try #require(try contents(host("late")) == late)
            try #require(!exists(host("huge")))
        }
    }

    /// What the files below `folder` take of the disk; files that vanish meanwhile count nothing.
    private static func bytesOnDisk(_ folder: String) throws -> Int {
        try paths(below: folder).reduce(0) { sum, path in
            sum + ((try? status(folder + "/" + path)).map { Int($0.st_blocks) * 512 } ?? 0)
        }
    }

    @Test("no content, name, attribute or link target can be read in the server's files or on the wire")
    func secrecy() throws {
        try onHost(mount: false) { host in
            let relay = try Relay(to: host.serverPort)
            defer { relay.stop() }
            // The mount finds no server by discovery, so all it says goes through the relay.
            host.discoveryPort = try freePort()
            try host.startMount(["--server", "127.0.0.1:\(relay.port)"])
            let marker = { (what: String) in "PLAIN-\(what)-MARKER-7391" }
            let content = Array(marker("content").utf8)
            let large = (0..<40_000).flatMap { _ in content }
            try writeFile(host("small"), content)
            try writeFile(host("large"), large, sync: true)
            try check(mkdir(host(marker("folder")), 0o755))
            try writeFile(host(marker("folder") + "/" + marker("file")), [1, 2, 3], sync: true)
            try setAttribute(host("small"), "user." + marker("attribute"), Array(marker("value").utf8))
            try check(symlink(marker("target"), host("link")))
            try check(rename(host("large"), host(marker("renamed"))))
            try #require(try host.unmount() == 0)
            try host.startMount(["--server", "127.0.0.1:\(relay.port)"])
            try #require(try contents(host(marker("renamed"))) == large)
            try #require(try linkTarget(host("link")) == marker("target"))
            try #require(try attribute(host("small"), "user." + marker("attribute")) == Array(marker("value").utf8))
            try host.unmount()
            try #require(host.stopServer() == 0)

            let key = try contents(host.folder + "/.config/lanfs/keys/default.key")
            // The id of the volume stands there too; servers know it.
            let id = try host.lanfs("keygen", "--show-id").text.filter { $0 != "\n" }
            let secrets = String(decoding: key, as: UTF8.self).split { " \n\t=:".contains($0) }
                .filter { $0.utf8.count >= 24 && $0 != id }.map { Array($0.utf8) }
            try #require(!secrets.isEmpty, "the key file has no long word")
            let seen = relay.seen
            try #require(seen.count > 2 * large.count, "the relay saw only \(seen.count) bytes")
            let files = try paths(below: host.data)
            let stored = try files.filter { try status(host.data + "/" + $0).st_mode & S_IFMT == S_IFREG }
                .map { try contents(host.data + "/" + $0) }
            try #require(stored.reduce(0) { $0 + $1.count } > large.count)
            let words = ["PLAIN-", "-MARKER-7391"].map { Array($0.utf8) } + secrets
            try #require(contains(large, words[0]), "the search itself finds what is there")
            for word in words {
                let text = String(decoding: word.prefix(12), as: UTF8.self)
                try #require(!contains(seen, word), "\(text) crossed the wire")
                try #require(!stored.contains { contains($0, word) }, "\(text) is in a file of the server")
                try #require(!files.contains { contains(Array($0.utf8), word) }, "\(text) names a file of the server")
            }
        }
    }
}
