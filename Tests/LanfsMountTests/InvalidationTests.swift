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
        #expect(m.session.invalidator.post(.attributes(inode)))
        await m.session.invalidator.delivered()
        #expect(try await Self.look(m("f")) == (Array("newer".utf8), 5))
        m.files.changeBehindTheKernel("f", to: "other")
        #expect(m.session.invalidator.post(.attributes(inode)))
        await m.session.invalidator.delivered()
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
        m.session.invalidator.post(.attributes(try #require(m.files.inode(of: "f"))))
        await m.session.invalidator.delivered()
        let after = try await onThread { try status(m("f")).st_mode }
        #expect(after == S_IFREG | 0o600)
        try await m.finish()
    }

    @Test("names are looked up again when invalidated, one or all")
    func invalidatedNames() async throws {
        let m = try await Mounted()
        try await onThread { for name in ["a", "b", "c", "d"] { try writeFile(m(name), [1]) } }
        func exists(_ name: String) async throws -> Bool { try await onThread { (try? status(m(name))) != nil } }
        let child = try #require(m.files.inode(of: "b"))
        for name in ["a", "b", "c", "d"] {
            m.files.removeBehindTheKernel(name)
            #expect(try await exists(name))
        }
        m.session.invalidator.post(.entry(parent: 1, name: Array("a".utf8)))
        m.session.invalidator.post(.deleted(parent: 1, child: child, name: Array("b".utf8)))
        await m.session.invalidator.delivered()
        #expect(try await !exists("a"))
        #expect(try await !exists("b"))
        #expect(try await exists("c"))
        if m.session.canInvalidateAllNames {
            m.session.invalidator.post(.allNames)
            await m.session.invalidator.delivered()
            #expect(try await !exists("c"))
            #expect(try await !exists("d"))
        } else {
            for name in ["c", "d"] { m.session.invalidator.post(.entry(parent: 1, name: Array(name.utf8))) }
        }
        try await m.finish()
    }

    @Test("the shared policy expires by itself, and a policy can change while mounted")
    func expiry() async throws {
        let short = CachePolicy(entries: .milliseconds(50), attributes: .milliseconds(50))
        let m = try await Mounted(cache: short)
        try await onThread { try writeFile(m("f"), Array("old".utf8)) }
        m.files.changeBehindTheKernel("f", to: "newer")
        try await Task.sleep(for: .milliseconds(100))
        #expect(try await Self.look(m("f")) == (Array("newer".utf8), 5))
        m.session.setCachePolicy(.solo)
        try await Task.sleep(for: .milliseconds(100))
        _ = try await Self.look(m("f"))
        m.files.changeBehindTheKernel("f", to: "newest")
        try await Task.sleep(for: .milliseconds(100))
        #expect(try await Self.look(m("f")).size == 5)
        try await m.finish()
    }

    @Test("missing names are asked for each time unless the policy says otherwise")
    func missing() async throws {
        let m = try await Mounted()
        func exists(_ name: String) async throws -> Bool { try await onThread { (try? status(m(name))) != nil } }
        #expect(try await !exists("late"))
        m.files.makeBehindTheKernel("late")
        #expect(try await exists("late"))
        var policy = CachePolicy.solo
        policy.missingEntries = .seconds(100)
        m.session.setCachePolicy(policy)
        #expect(try await !exists("later"))
        m.files.makeBehindTheKernel("later")
        #expect(try await !exists("later"))
        m.session.invalidator.post(.entry(parent: 1, name: Array("later".utf8)))
        await m.session.invalidator.delivered()
        #expect(try await exists("later"))
        try await m.finish()
    }

    @Test("what has to wait for an answer of ours waits here, where it can be killed, and holds up no request")
    func waiting() async throws {
        let m = try await Mounted()
        try await onThread {
            try check(mkdir(m("stuck-folder"), 0o755))
            try writeFile(m("stuck-folder/f"), [1])
            let reader = try PlainThread(name: "test") { _ = try? names(in: m("stuck-folder")) }
            #expect(!reader.hasFinished(within: .milliseconds(100)))
            let folder = try #require(m.files.inode(of: "stuck-folder"))
            m.session.invalidator.post(.entry(parent: folder, name: [UInt8(ascii: "f")]))
            usleep(100_000)
            let states = try Self.states(ofThreads: "lanfs-notify")
            #expect(!states.isEmpty && !states.contains("D"))
            try writeFile(m("other"), [2])
            #expect(try contents(m("other")) == [2])
            m.files.openGate()
            #expect(reader.hasFinished(within: .seconds(5)))
            reader.join()
        }
        await m.session.invalidator.delivered()
        try await m.finish()
    }

    /// As the kernel has them; D: waits, and not even kill -9 ends it.
    private static func states(ofThreads name: String) throws -> [Character] {
        try names(in: "/proc/self/task").compactMap { task in
            // TID (NAME) STATE ...
            guard let bytes = try? contents("/proc/self/task/" + String(decoding: task, as: UTF8.self) + "/stat") else { return nil }
            let parts = String(decoding: bytes, as: UTF8.self).split(separator: ")")
            return parts.first?.hasSuffix("(" + name) ?? false ? parts.last?.first { $0 != " " } : nil
        }
    }

    @Test("after the end nothing is queued and nobody waits")
    func afterTheEnd() async throws {
        let m = try await Mounted()
        m.session.unmount()
        await m.session.waitUntilUnmounted()
        #expect(!m.session.invalidator.post(.attributes(1)))
        await m.session.invalidator.delivered()
        rmdir(m.folder)
    }
}
