import Glibc
import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import NIOCore
import NIOPosix
import SystemPackage
import TestSupport
import Testing

@testable import LanfsServer

@Suite("A server's life") struct LifeTests {
    @Test("discovery says who it is, how much room it has, and whether it holds the volume")
    func discovery() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder) { $0.name = "attic" }
        let client = try await TestClient.open(server)
        func search(_ volume: VolumeID, need: UInt64 = 0) async throws -> [FoundServer] {
            var search = ServerSearch()
            search.hosts = [Endpoint(host: "127.0.0.1", port: server.discoveryPort)]
            search.reach = .nowhere
            search.need = need
            search.wait = .milliseconds(need > 1 << 40 ? 300 : 3000)
            search.wanted = server.identity
            search.volumeToken = { Discovery.token(volume: volume, nonce: $0, RegisterVerifier()) }
            return try await search.run(group: MultiThreadedEventLoopGroup.singleton)
        }
        let found = try #require(try await search(client.key.id).first)
        #expect(found.server == server.identity)
        #expect(found.name == "attic")
        #expect(found.endpoints.map(\.port) == [server.port])
        #expect(found.holdsVolume)
        #expect(found.capacity > 0 && found.capacity <= 1 << 30 && found.free <= found.capacity)
        #expect(try await search(VolumeKey.generate().id).first?.holdsVolume == false)
        #expect(try await search(client.key.id, need: 1 << 50).isEmpty)
        await server.stop()
    }

    @Test("a graceful stop answers what it has, and what it said is done is done")
    func gracefulStop() async throws {
        let folder = try TemporaryFolder()
        let key = VolumeKey.generate()
        let server = try await startServer(in: folder)
        let client = try await TestClient.open(server, key: key)
        var random = SplitMix64(seed: 1)
        let blocks = (0..<40).map { _ in TestBlock(100_000, &random) }
        let puts = blocks.map { client.send($0.request(), payload: $0.bytes) }
        let flush = client.send(.flush(expecting: []))
        async let stopped: Void = server.stop()
        var stored: [TestBlock] = []
        for (block, put) in zip(blocks, puts) {
            switch try? await put.response() {
            case .done: stored.append(block)
            case .refused(let refusal): #expect(refusal.reason == .closing)
            case nil: break  // the connection was closed before the request was read
            case .some(let other): Issue.record("\(other)")
            }
        }
        let isFlushed = (try? await flush.response()) == .missing([])
        await stopped
        if isFlushed { #expect(stored.count == blocks.count) }

        let again = try await startServer(in: folder)
        let reader = try await TestClient.open(again, key: key)
        for block in stored { #expect(try await reader.get(block.id) == block.array) }
        await again.stop()
    }

    @Test("stopping twice, and stopping with idle clients, is quick")
    func stopTwice() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        let client = try await TestClient.open(server)
        let start = ContinuousClock.now
        await server.stop()
        await server.stop()
        #expect(ContinuousClock.now - start < .seconds(2))
        _ = try await eventually { client.connection.failure }
    }

    @Test("a port that is taken is said so")
    func takenPort() async throws {
        let (one, other) = (try TemporaryFolder(), try TemporaryFolder())
        let server = try await startServer(in: one)
        let error = await #expect(throws: ServerError.self) {
            _ = try await startServer(in: other) { $0.port = server.port }
        }
        #expect(error?.description.contains("--port") == true)
        await server.stop()
    }

    /// Not a test: the server that the next test kills, in a process of its own.
    @Test("a child that serves until it is killed", .enabled(if: LifeTests.childFolder != nil))
    func child() async throws {
        guard let folder = LifeTests.childFolder else { return }
        var configuration = ServerConfiguration(dataDirectory: folder)
        configuration.discoveryPort = 0
        configuration.listen = [Endpoint(host: "127.0.0.1", port: 0)]
        let server = try await Server.start(configuration, logger: quiet)
        // Only now, because the port file of an earlier life may be there before the server is.
        try write("\(server.port)", to: folder.appending("ready"))
        try await Task.sleep(for: .seconds(60))
    }

    static var childFolder: FilePath? { getenv("LANFS_TEST_CHILD").map { FilePath(String(cString: $0)) } }

    @Test(
        "put ... put, flush, kill -9: what was flushed is there after the restart", arguments: 0..<3 as Range<UInt64>)
    func killed(seed: UInt64) async throws {
        let folder = try TemporaryFolder()
        let key = VolumeKey.generate()
        let pid = try spawnChild(folder.path)
        defer {
            kill(pid, SIGKILL)
            waitpid(pid, nil, 0)
        }
        let port: Int = try await eventually {
            let file = try? FileDescriptor.open(folder.path.appending("ready"), .readOnly)
            guard let file else { return nil }
            defer { try? file.close() }
            return withUnsafeTemporaryAllocation(byteCount: 16, alignment: 1) { buffer in
                (try? file.read(into: buffer)).flatMap { Int(String(decoding: buffer[..<$0], as: UTF8.self)) }
            }
        }
        let client = try await TestClient(port: port, key: key)
        #expect(try await client.open() == .done)
        var random = SplitMix64(seed: seed)
        let blocks = (0..<60).map { _ in TestBlock(Int.random(in: 1...60_000, using: &random), &random) }
        for block in blocks { _ = client.send(block.request(), payload: block.bytes) }
        let flush = client.send(.flush(expecting: []))
        #expect(try await flush.response() == .missing([]))
        kill(pid, SIGKILL)

        let server = try await eventually { try? await startServer(in: folder) }
        let reader = try await TestClient.open(server, key: key)
        for block in blocks { #expect(try await reader.get(block.id) == block.array, "seed \(seed)") }
        await server.stop()
    }

    /// This very test program once more, running nothing but `child`.
    private func spawnChild(_ folder: FilePath) throws -> pid_t {
        var arguments = [CommandLine.arguments[0], "--testing-library", "swift-testing"]
        arguments += ["--filter", "LifeTests/child"]
        if let index = CommandLine.arguments.firstIndex(of: "--test-bundle-path") {
            arguments += CommandLine.arguments[index...].prefix(2)
        }
        var environment: [String] = []
        var next = environ
        while let entry = next.pointee {
            environment.append(String(cString: entry))
            next += 1
        }
        environment.append("LANFS_TEST_CHILD=\(folder)")
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        var pid = pid_t()
        let result = withCStrings(arguments) { arguments in
            withCStrings(environment) { posix_spawn(&pid, "/proc/self/exe", &actions, nil, arguments, $0) }
        }
        try #require(result == 0)
        return pid
    }

    private func withCStrings<Result>(
        _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) -> Result {
        var pointers = strings.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
    }
}
