import Glibc
import LanfsCrypto
import LanfsProtocol
import Logging
import NIOCore
import NIOPosix
import Synchronization
import TestSupport

@testable import LanfsNetwork

let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
let quiet: Logger = {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return logger
}()

final class TestPins: Pins {
    private let pins = Mutex<[ServerID: Pin]>([:])
    private let failure = Mutex<NetworkError?>(nil)

    func pin(of server: ServerID) -> Pin? { pins.withLock { $0[server] } }

    func keep(_ pin: Pin) throws {
        if let failure = failure.withLock({ $0 }) { throw failure }
        pins.withLock { $0[pin.server] = pin }
    }

    func refuse(with error: NetworkError) { failure.withLock { $0 = error } }
}

final class TestPairings: Pairings {
    private let keys = Mutex<[ClientID: SharedSecret]>([:])

    func pairwiseKey(with client: ClientID) -> SharedSecret? { keys.withLock { $0[client] } }
    func keep(_ pairwiseKey: SharedSecret, with client: ClientID) { keys.withLock { $0[client] = pairwiseKey } }
    func forgetAll() { keys.withLock { $0 = [:] } }
    var count: Int { keys.withLock { $0.count } }
}

/// The block that the test server claims to hold for every id.
private let patternBlock: ByteBuffer = {
    var random = SplitMix64(seed: 1)
    var buffer = ByteBuffer()
    for _ in 0..<(Limits.blockSize + 4096) / 8 { buffer.writeInteger(random.next()) }
    return buffer
}()

func pattern(_ range: Range<Int>) -> ByteBuffer { patternBlock.getSlice(at: range.lowerBound, length: range.count)! }

/// What the test server saw.
final class Observations: Sendable {
    struct Seen {
        var connections = 0
        var requests = 0
        var puts: [BlockID: ByteBuffer] = [:]
        var ended: [NetworkError] = []
        var order: [RequestID] = []
    }

    let seen = Mutex(Seen())
    /// Held back while this is true; see `TestHandler.releaseAll`.
    let holds = Atomic<Bool>(false)
    /// Answers leave from other threads than the connection's, as a disk's do.
    let answersElsewhere = Atomic<Bool>(false)
    let held = Mutex<[@Sendable () -> Void]>([])

    func releaseAll() {
        holds.store(false, ordering: .releasing)
        let waiting = held.withLock { held in
            defer { held = [] }
            return held
        }
        for reply in waiting { reply() }
    }

    var requests: Int { seen.withLock { $0.requests } }
}

final class TestHandler: RequestHandler {
    let connection: ServerConnection
    let observations: Observations

    init(_ connection: ServerConnection, _ observations: Observations) {
        self.connection = connection
        self.observations = observations
        observations.seen.withLock { $0.connections += 1 }
    }

    func received(_ request: Request, payload: ByteBuffer?, id: RequestID) {
        observations.seen.withLock { seen in
            seen.requests += 1
            seen.order.append(id)
            if case .put(let block, _, _) = request { seen.puts[block] = payload ?? ByteBuffer() }
        }
        let answer: @Sendable () -> Void = { [connection] in
            switch request {
            case .get(_, let offset, let length):
                let bytes = pattern(Int(offset)..<Int(offset) + Int(length))
                connection.reply(id, .block(length: length), payload: bytes)
            case .status: connection.reply(id, .status(ServerStatus(capacity: 4, free: 3, usedByVolume: 2, blocks: 1)))
            case .list(after: .some): connection.reply(id, .block(length: 300_000), payload: FileReply.region())
            case .touch(let blocks, _): connection.reply(id, .missing(blocks))
            default: connection.reply(id, .done)
            }
        }
        if observations.holds.load(ordering: .acquiring) {
            observations.held.withLock { $0.append(answer) }
        } else if observations.answersElsewhere.load(ordering: .acquiring) {
            Task.detached { answer() }
        } else {
            answer()
        }
    }

    func closed(_ reason: NetworkError) { observations.seen.withLock { $0.ended.append(reason) } }
}

/// A listener on loopback with everything it needs.
struct TestServer {
    let key: StaticKeyPair
    let pairings: TestPairings
    let observations = Observations()
    let listener: RPCListener

    init(
        key: StaticKeyPair = .generate(), pairings: TestPairings = TestPairings(),
        limits: ServerLimits = ServerLimits(),
        timeouts: Timeouts = Timeouts(), port: Int = 0
    ) async throws {
        self.key = key
        self.pairings = pairings
        let observations = observations
        listener = try await RPCListener.bind(
            [Endpoint(host: "127.0.0.1", port: port)], key: key, pairings: pairings, group: group, limits: limits,
            timeouts: timeouts, logger: quiet
        ) { TestHandler($0, observations) }
    }

    var id: ServerID { ServerID(key.publicKey)! }
    var endpoint: Endpoint { Endpoint(host: "127.0.0.1", port: listener.port) }

    func connect(
        pins: TestPins, server: ServerID? = nil, through endpoint: Endpoint? = nil, timeouts: Timeouts = Timeouts(),
        limits: ClientLimits = ClientLimits()
    ) async throws(NetworkError) -> RPCConnection {
        try await RPCConnection.connect(
            to: [endpoint ?? self.endpoint], server: server ?? id, pins: pins, group: group, timeouts: timeouts,
            limits: limits)
    }

    func stop() async { await listener.shutdown(within: .seconds(3)) }
}

/// Polls, because what is waited for happens on other threads. False after `limit`.
func eventually(within limit: Duration = .seconds(10), _ condition: () -> Bool) async -> Bool {
    let deadline = ContinuousClock.now + limit
    while !condition() {
        if ContinuousClock.now > deadline { return false }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return true
}

extension BlockID {
    init(number: Int) { self.init(word0: UInt64(number), word1: 1, word2: 2, word3: 3) }
}

/// An address that swallows connection attempts: a listener that accepts nobody and whose queue is full.
final class Hole {
    let endpoint: Endpoint
    private let descriptors: [CInt]

    init() throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        var descriptors = [listener]
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(listener, address, length)
                listen(listener, 0)
                getsockname(listener, address, &length)
                for _ in 0..<4 {
                    let filler = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
                    _ = connect(filler, address, length)
                    descriptors.append(filler)
                }
            }
        }
        self.descriptors = descriptors
        endpoint = Endpoint(host: "127.0.0.1", port: Int(UInt16(bigEndian: address.sin_port)))
    }

    deinit { for descriptor in descriptors { close(descriptor) } }
}

/// The pattern block as a file, for the test server to answer from: `list(after:)` gets 300,000 bytes from 1,000 on.
enum FileReply {
    static func region() -> OutgoingPayload? {
        var path = Array("/tmp/lanfs-test-XXXXXX".utf8CString)
        let descriptor = mkstemp(&path)
        unlink(path)
        let written = pattern(0..<400_000).withUnsafeReadableBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard descriptor >= 0, written == 400_000 else { return nil }
        let handle = NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: descriptor)
        return .file(FileRegion(fileHandle: handle, readerIndex: 1_000, endIndex: 301_000))
    }
}
