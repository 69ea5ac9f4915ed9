import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import NIOCore
import Synchronization

/// A server with so many blocks of 64 bytes that it matters: how long it takes to answer for them again after it was
/// killed with -9, from the start of its process until the last block was read back, and how long of it it computed.
struct Blocks {
    private let server: ServerProcess
    private let key = VolumeKey.generate()
    private let pins = Memory()
    private static let rounds = 3

    init(_ server: ServerProcess) { self.server = server }

    func run(_ count: Int) async throws {
        let last = try await Self.fill(try await server.open(key, pins), count)
        print("\(count) blocks stored")
        for _ in 0..<Self.rounds {
            server.end()
            let start = ContinuousClock.now
            try server.start()
            let connection = try await server.open(key, pins)
            let reply = try await connection.call(.get(block: last, offset: 0, length: 0))
            guard case .block = reply.response else { throw Failure("the last block is lost") }
            print("answers after \(start.duration(to: .now)), of which it computed \(server.computed)")
            connection.close()
        }
    }

    /// Returns the last block, once all are on disk.
    private static func fill(_ connection: RPCConnection, _ count: Int) async throws -> BlockID {
        var last = BlockID.zero
        let refused = Refusals()
        for number in 0..<count {
            var bytes = [UInt8](repeating: 0, count: 64)
            withUnsafeBytes(of: number) { bytes.replaceSubrange(0..<$0.count, with: $0) }
            last = name(of: bytes)
            let put = Request.put(block: last, length: UInt32(bytes.count), gcEpoch: 0)
            if number % 1000 < 999 {
                connection.call(put, payload: ByteBuffer(bytes: bytes)) { refused.note($0) }
            } else {
                // Waits for the thousand, so that no more than these are in memory.
                refused.note(.success(try await connection.call(put, payload: ByteBuffer(bytes: bytes))))
            }
        }
        guard case .missing(let missing) = try await connection.call(.flush(expecting: [last])).response, missing.isEmpty,
            refused.count == 0
        else { throw Failure("\(refused.count) blocks were not stored") }
        return last
    }

    private static func name(of bytes: [UInt8]) -> BlockID {
        var digest = [UInt8](repeating: 0, count: sha256Size)
        bytes.withUnsafeBytes { bytes in digest.withUnsafeMutableBytes { sha256(bytes, into: $0) } }
        func word(_ index: Int) -> UInt64 { digest[index * 8..<index * 8 + 8].reduce(0) { $0 << 8 | UInt64($1) } }
        return BlockID(word0: word(0), word1: word(1), word2: word(2), word3: word(3))
    }
}

private final class Refusals: Sendable {
    private let state = Atomic(0)
    var count: Int { state.load(ordering: .relaxed) }

    func note(_ result: Result<Reply, NetworkError>) {
        if case .success(let reply) = result, case .done = reply.response { return }
        state.add(1, ordering: .relaxed)
    }
}

/// Pins for as long as this process runs.
final class Memory: Pins {
    private let pins = Mutex<[ServerID: Pin]>([:])
    func pin(of server: ServerID) -> Pin? { pins.withLock { $0[server] } }
    func keep(_ pin: Pin) { pins.withLock { $0[pin.server] = pin } }
}
