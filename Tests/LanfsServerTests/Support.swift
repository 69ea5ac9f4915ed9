import Glibc
import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import Logging
import NIOCore
import NIOPosix
import Synchronization
import SystemPackage
import TestSupport
import Testing

@testable import LanfsServer

let quiet: Logger = {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return logger
}()

/// A folder on the real disk that goes away with the test.
final class TemporaryFolder: Sendable {
    let path: FilePath

    init() throws {
        var template = Array("/tmp/lanfs-server-test.XXXXXX".utf8CString)
        let name = template.withUnsafeMutableBufferPointer { buffer in
            buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) }
        }
        path = FilePath(try #require(name))
    }

    deinit { removeAll(path.string) }

    /// What a process that is killed now would leave.
    func copy() throws -> TemporaryFolder {
        let copy = try TemporaryFolder()
        let words = ["cp", "-a", path.string + "/.", copy.path.string]
        var arguments = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var process: pid_t = 0
        try #require(posix_spawnp(&process, "cp", nil, nil, &arguments, environ) == 0)
        var status: Int32 = 0
        try #require(waitpid(process, &status, 0) == process && status == 0)
        return copy
    }
}

private func removeAll(_ path: String) {
    if let folder = opendir(path) {
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { removeAll(path + "/" + name) }
        }
        closedir(folder)
    }
    remove(path)
}

func write(_ text: String, to path: FilePath, mode: mode_t = 0o600) throws {
    let descriptor = open(path.string, O_WRONLY | O_CREAT | O_TRUNC, mode)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    try #require(text.utf8.count == text.withCString { Glibc.write(descriptor, $0, strlen($0)) })
    try #require(fchmod(descriptor, mode) == 0)
}

/// On loopback, with ports of its own; `folder` is its data directory.
func startServer(
    in folder: TemporaryFolder, _ configure: (inout ServerConfiguration) -> Void = { _ in }
) async throws -> Server {
    var configuration = ServerConfiguration(dataDirectory: folder.path)
    configuration.capacity = 1 << 30
    configuration.discoveryPort = 0
    configuration.listen = [Endpoint(host: "127.0.0.1", port: 0)]
    configuration.name = "test"
    configure(&configuration)
    return try await Server.start(configuration, logger: quiet)
}

final class MemoryPins: Pins {
    private let pins = Mutex<[ServerID: Pin]>([:])

    func pin(of server: ServerID) -> Pin? { pins.withLock { $0[server] } }
    func keep(_ pin: Pin) { pins.withLock { $0[pin.server] = pin } }
}

extension VolumeKey {
    var id: VolumeID { VolumeID(volumeID)! }
}

/// One connection as a client has it.
struct TestClient {
    let connection: RPCConnection
    let key: VolumeKey

    /// Connects, without opening the volume.
    init(
        port: Int, key: VolumeKey = .generate(), pins: MemoryPins = MemoryPins(), server: ServerID? = nil
    ) async throws {
        connection = try await RPCConnection.connect(
            to: [Endpoint(host: "127.0.0.1", port: port)], server: server, pins: pins,
            group: MultiThreadedEventLoopGroup.singleton)
        self.key = key
    }

    /// Connected, and the volume open.
    static func open(_ server: Server, key: VolumeKey = .generate()) async throws -> TestClient {
        let client = try await TestClient(port: server.port, key: key)
        try #require(try await client.open() == .done)
        return client
    }

    func open() async throws -> Response {
        let proof = key.signingKey.sign(sessionProof(handshakeHash: connection.handshakeHash))
        return try await ask(.open(volume: key.id, proof: proof))
    }

    func ask(_ request: Request) async throws -> Response {
        try await connection.call(request).response
    }

    func put(_ block: TestBlock, gcEpoch: UInt64 = 0) async throws -> Response {
        try await connection.call(block.request(gcEpoch), payload: block.bytes).response
    }

    func commit(
        _ blocks: [BlockID], carrying carried: [TestBlock], _ request: RegisterRequest, as names: [BlockID]? = nil
    ) async throws -> Response {
        let names = zip(names ?? carried.map(\.id), carried).map {
            Request.Carried(block: $0, length: UInt32($1.bytes.readableBytes), gcEpoch: 1)
        }
        var payload = ByteBuffer()
        for block in carried { payload.writeImmutableBuffer(block.bytes) }
        return try await connection.call(.commit(blocks: blocks, carrying: names, request), payload: payload).response
    }

    /// Sends without waiting.
    func send(_ request: Request, payload: ByteBuffer? = nil) -> Answer {
        let answer = Answer()
        connection.call(request, payload: payload) { answer.arrived($0) }
        return answer
    }

    func get(_ block: BlockID, offset: UInt32 = 0, length: UInt32 = 0) async throws -> [UInt8]? {
        let reply = try await connection.call(.get(block: block, offset: offset, length: length))
        guard case .block(let length) = reply.response else { return nil }
        let bytes = reply.payload.map { Array($0.readableBytesView) } ?? []
        return bytes.count == Int(length) ? bytes : nil
    }

    func status() async throws -> ServerStatus {
        guard case .status(let status) = try await ask(.status) else { throw Unexpected() }
        return status
    }
}

struct Unexpected: Error {}

/// An answer on its way.
final class Answer: Sendable {
    private let stream: AsyncStream<Result<Response, NetworkError>>
    private let continuation: AsyncStream<Result<Response, NetworkError>>.Continuation

    init() { (stream, continuation) = AsyncStream.makeStream() }

    func arrived(_ result: Result<Reply, NetworkError>) {
        continuation.yield(result.map(\.response))
        continuation.finish()
    }

    func response() async throws -> Response {
        for await result in stream { return try result.get() }
        throw Unexpected()
    }
}

/// Bytes under their right name.
struct TestBlock {
    let id: BlockID
    let bytes: ByteBuffer

    init(_ bytes: [UInt8]) {
        id = bytes.withUnsafeBytes { blockHash($0) }
        self.bytes = ByteBuffer(bytes: bytes)
    }

    init(_ count: Int, _ random: inout SplitMix64) { self.init(random.bytes(count)) }

    var array: [UInt8] { Array(bytes.readableBytesView) }

    func request(_ gcEpoch: UInt64 = 0) -> Request {
        .put(block: id, length: UInt32(bytes.readableBytes), gcEpoch: gcEpoch)
    }
}

extension Response {
    var reason: Refusal.Reason? {
        if case .refused(let refusal) = self { refusal.reason } else { nil }
    }
}

/// Calls `body` until it has a value, for ten seconds at most.
func eventually<Value>(_ body: () async throws -> Value?) async throws -> Value {
    for _ in 0..<1000 {
        if let value = try await body() { return value }
        try await Task.sleep(for: .milliseconds(10))
    }
    throw Unexpected()
}
