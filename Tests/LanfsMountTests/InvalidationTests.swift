import Glibc
import SystemPackage
import Testing

@testable import LanfsMount

@Suite("What the kernel remembers", .serialized, .enabled(if: Fuse.isAvailable))
struct InvalidationTests {
    /// The bytes as the kernel has them, and the size it believes in.
    private static func look(_ path: String) async throws -> (bytes: [UInt8], size: Int) {
        try await onThread { (try contents(path), Int(try status(path).st_size)) }
    }

    @Test("data and attributes are kept until the attributes are invalidated")
    func data() async throws {
        let m = try await Mounted()
        try await onThread { try writeFile(m("f"), Array("old".utf8)) }
        #expect(try await Self.look(m("f")) == (Array("old".utf8), 3))
        m.files.changeBehindTheKernel("f", to: "newer")
        #expect(try await Self.look(m("f")) == (Array("old".utf8), 3))
        let inode = try #require(m.files.inode(of: "f"))
        m.session.expire(inode)
        #expect(try await Self.look(m("f")) == (Array("newer".utf8), 5))
        m.files.changeBehindTheKernel("f", to: "other")
        m.session.expire(inode)
        #expect(try await Self.look(m("f")) == (Array("other".utf8), 5))
        try await m.finish()
    }

    @Test("attributes alone are asked for again")
    func attributes() async throws {
        let m = try await Mounted()
        try await onThread {
            try writeFile(m("f"), [1])
            // Writing made the kernel forget them.
            _ = try status(m("f"))
        }
        m.files.changeBehindTheKernel("f", to: "x", mode: 0o600)
        let before = try await onThread { try status(m("f")).st_mode }
        #expect(before == S_IFREG | 0o644)
        m.session.expire(try #require(m.files.inode(of: "f")))
        let after = try await onThread { try status(m("f")).st_mode }
        #expect(after == S_IFREG | 0o600)
        try await m.finish()
    }

    @Test("names are looked up again when their time is over")
    func names() async throws {
        let m = try await Mounted(cache: CachePolicy(entries: .milliseconds(200), attributes: .seconds(100)))
        try await onThread { try writeFile(m("f"), [1]) }
        func exists() async throws -> Bool { try await onThread { (try? status(m("f"))) != nil } }
        #expect(try await exists())
        m.files.removeBehindTheKernel("f")
        #expect(try await exists())
        try await Task.sleep(for: .milliseconds(300))
        #expect(try await !exists())
        try await m.finish()
    }

    @Test("attributes are asked for again when their time is over")
    func expiry() async throws {
        let m = try await Mounted(cache: CachePolicy(entries: .milliseconds(50), attributes: .milliseconds(50)))
        try await onThread { try writeFile(m("f"), Array("old".utf8)) }
        m.files.changeBehindTheKernel("f", to: "newer")
        try await Task.sleep(for: .milliseconds(100))
        #expect(try await Self.look(m("f")) == (Array("newer".utf8), 5))
        try await m.finish()
    }

    @Test("missing names are asked for each time unless the policy says otherwise", arguments: [false, true])
    func missing(isKnown: Bool) async throws {
        var policy = CachePolicy.solo
        policy.missingEntries = isKnown ? .seconds(100) : .zero
        let m = try await Mounted(cache: policy)
        func exists(_ name: String) async throws -> Bool { try await onThread { (try? status(m(name))) != nil } }
        #expect(try await !exists("late"))
        m.files.makeBehindTheKernel("late")
        #expect(try await exists("late") != isKnown)
        try await m.finish()
    }

    @Test("telling the kernel waits for no answer of ours, nor for the mount")
    func waiting() async throws {
        let m = try await Mounted()
        try await onThread {
            try writeFile(m("stuck-read"), Array(repeating: 1, count: 10_000))
            try check(mkdir(m("stuck-folder"), 0o755))
            let readers = try ["stuck-read", "stuck-folder"].map { name in
                try PlainThread(name: "test") {
                    _ = try? contents(m(name))
                    _ = try? LanfsMountTests.names(in: m(name))
                }
            }
            for reader in readers { #expect(!reader.hasFinished(within: .milliseconds(100))) }
            let teller = try PlainThread(name: "test") {
                for name in ["stuck-read", "stuck-folder"] { if let inode = m.files.inode(of: name) { m.session.expire(inode) } }
            }
            #expect(teller.hasFinished(within: .seconds(5)))
            teller.join()
            m.files.openGate()
            for reader in readers {
                #expect(reader.hasFinished(within: .seconds(5)))
                reader.join()
            }
        }
        try await m.finish()
    }
}
