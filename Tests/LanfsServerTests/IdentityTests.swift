import Glibc
import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import SystemPackage
import Synchronization
import Testing

@testable import LanfsServer

@Suite("The server's identity") struct IdentityTests {
    @Test("is made once, private, and stays")
    func madeOnce() throws {
        let folder = try TemporaryFolder()
        let path = folder.path.appending("identity.key")
        let made = try ServerIdentity.load(path)
        let again = try ServerIdentity.load(path)
        #expect(made.publicKey == again.publicKey)
        #expect(made.privateKey == again.privateKey)
        var status = stat()
        #expect(stat(path.string, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
    }

    @Test("one that others can read is refused with what to do")
    func readable() throws {
        let folder = try TemporaryFolder()
        let path = folder.path.appending("identity.key")
        _ = try ServerIdentity.load(path)
        try #require(chmod(path.string, 0o644) == 0)
        let error = #expect(throws: IdentityError.self) { try ServerIdentity.load(path) }
        #expect(error?.description.contains("chmod 600") == true)
    }

    @Test("any changed byte of a key is found")
    func damaged() throws {
        let pair = StaticKeyPair.generate()
        let text = ServerIdentity.encode(pair)
        #expect(try ServerIdentity.decode(text, "f").publicKey == pair.publicKey)
        let start = text.indices.dropFirst().first { text[$0 - 1] == 10 && text[$0] != UInt8(ascii: "#") } ?? 0
        for index in start..<text.count - 1 {
            var changed = text
            changed[index] ^= 1
            #expect(throws: IdentityError.self, "byte \(index)") { try ServerIdentity.decode(changed, "f") }
        }
        for count in [0, 1, start, text.count / 2, text.count - 2] {
            #expect(throws: IdentityError.self) { try ServerIdentity.decode(Array(text.prefix(count)), "f") }
        }
    }

    @Test("a damaged one keeps the server from starting and is not overwritten")
    func refusesToStart() async throws {
        let folder = try TemporaryFolder()
        let path = folder.path.appending("identity.key")
        try write("lanfs-server-identity 1\n", to: path)
        await #expect(throws: ServerError.self) { _ = try await startServer(in: folder) }
        var status = stat()
        #expect(stat(path.string, &status) == 0 && status.st_size == 24)
        try #require(unlink(path.string) == 0)
        let server = try await startServer(in: folder)
        await server.stop()
    }

    @Test("a second server on the same folder is refused, also in one process, until the first has stopped")
    func twoServers() async throws {
        let folder = try TemporaryFolder()
        let first = try await startServer(in: folder)
        let error = await #expect(throws: ServerError.self) { _ = try await startServer(in: folder) }
        guard case .store(.inUse) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        _ = try await TestClient.open(first)
        await first.stop()
        let second = try await startServer(in: folder)
        #expect(second.identity == first.identity)
        await second.stop()
    }
}

@Suite("Pairings") struct PairingsTests {
    private final class Later: Sendable {
        let works = Mutex<[@Sendable () -> Void]>([])
        func run() { for work in works.withLock({ $0 }) { work() } }
    }

    private func pairings(_ path: FilePath, _ later: Later) -> ClientPairings {
        ClientPairings(path, logger: quiet) { work in later.works.withLock { $0.append(work) } }
    }

    private func client(_ number: UInt64) -> ClientID { ClientID(word0: number, word1: 0, word2: 0, word3: 0) }

    @Test("are kept over a restart, saved once for many, the newest key of each")
    func kept() throws {
        let folder = try TemporaryFolder()
        let path = folder.path.appending("pairings")
        let later = Later()
        let first = pairings(path, later)
        let keys = (0..<100).map { _ in SharedSecret(random: 32) }
        for number in 0..<100 { first.keep(SharedSecret(random: 32), with: client(UInt64(number))) }
        for (number, key) in keys.enumerated() { first.keep(key, with: client(UInt64(number))) }
        #expect(later.works.withLock { $0.count } == 1)
        later.run()
        let second = pairings(path, Later())
        #expect(second.count == 100)
        for (number, key) in keys.enumerated() { #expect(second.pairwiseKey(with: client(UInt64(number))) == key) }
        #expect(second.pairwiseKey(with: client(100)) == nil)
    }

    @Test("are bounded: the client met longest ago goes")
    func bounded() throws {
        let folder = try TemporaryFolder()
        let all = pairings(folder.path.appending("pairings"), Later())
        let key = SharedSecret(random: 32)
        for number in 0..<UInt64(ClientPairings.limit) { all.keep(key, with: client(number)) }
        all.keep(key, with: client(0))
        all.keep(key, with: client(1_000_000))
        #expect(all.count == ClientPairings.limit)
        #expect(all.pairwiseKey(with: client(0)) == key)
        #expect(all.pairwiseKey(with: client(1)) == nil)
        #expect(all.pairwiseKey(with: client(2)) == key)
        #expect(all.pairwiseKey(with: client(1_000_000)) == key)
    }

    @Test("a damaged file is no reason not to start")
    func damaged() throws {
        let folder = try TemporaryFolder()
        let path = folder.path.appending("pairings")
        let later = Later()
        pairings(path, later).keep(SharedSecret(random: 32), with: client(1))
        for text in ["", "lanfs pairings 1\n", String(repeating: "x", count: 5000)] {
            try write(text, to: path)
            #expect(pairings(path, Later()).count == 0)
        }
    }

    @Test("a client that was met before is met by the short handshake, also after a restart")
    func shortHandshake() async throws {
        let folder = try TemporaryFolder()
        let pins = MemoryPins()
        let first = try await startServer(in: folder)
        let contact = try await TestClient(port: first.port, pins: pins)
        #expect(contact.connection.isFirstContact)
        await first.stop()
        let second = try await startServer(in: folder)
        let again = try await TestClient(port: second.port, pins: pins, server: first.identity)
        #expect(!again.connection.isFirstContact)
        #expect(try await again.open() == .done)
        await second.stop()
    }
}
