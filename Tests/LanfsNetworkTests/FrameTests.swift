import LanfsCrypto
import LanfsProtocol
import NIOCore
import TestSupport
import Testing

@testable import LanfsNetwork

private typealias Decoder = FrameDecoder<Request>

/// One direction's bytes with a known key.
private struct Wire {
    let key = SharedSecret(random: 32)
    let hash = [UInt8](repeating: 7, count: 32)
    var bytes: [UInt8] = []

    /// Header, hello, the requests with their payloads, goodbye. `offsets`: where each part starts.
    static func of(_ requests: [(Request, [UInt8])], goodbye: Bool = true) throws -> (wire: Wire, offsets: [Int]) {
        var wire = Wire()
        var encoder = FrameEncoder(key: wire.key, handshakeHash: wire.hash)
        var buffer = ByteBuffer()
        var offsets: [Int] = []
        try encoder.begin(into: &buffer)
        for (index, (request, payload)) in requests.enumerated() {
            offsets.append(buffer.readableBytes)
            let part = payload.isEmpty ? nil : OutgoingPayload.bytes(ByteBuffer(bytes: payload))
            let message = OutgoingMessage(request, id: RequestID(index + 1), payload: part, weight: 0)
            try encoder.encode(try #require(message).plain, into: &buffer)
            buffer.writeBytes(payload)
        }
        offsets.append(buffer.readableBytes)
        if goodbye { try encoder.encode(OutgoingMessage.goodbye.plain, isFinal: true, into: &buffer) }
        wire.bytes = Array(buffer.readableBytesView)
        return (wire, offsets)
    }

    func decoder() -> Decoder { Decoder(key: key, handshakeHash: hash) }
}

private func put(_ length: Int) -> Request { .put(block: BlockID(number: length), length: UInt32(length), gcEpoch: 5) }

private struct Decoded {
    var messages: [(RequestID, Request, [UInt8])] = []
    var greeted = false
    var ended = false
    var failure: Decoder.Failure?
}

private func decode(_ wire: Wire, chunk: Int = .max, bytes: [UInt8]? = nil) -> Decoded {
    var decoder = wire.decoder()
    var result = Decoded()
    var rest = (bytes ?? wire.bytes)[...]
    do throws(Decoder.Failure) {
        while !rest.isEmpty {
            let part = rest.prefix(chunk)
            rest = rest.dropFirst(part.count)
            decoder.feed(ByteBuffer(bytes: part))
            loop: while true {
                switch try decoder.next() {
                case .needsMore: break loop
                case .hello: result.greeted = true
                case .announced, .alive: break
                case .complete(let id, let request, let payload):
                    result.messages.append((id, request, payload.map { Array($0.readableBytesView) } ?? []))
                case .goodbye: break
                }
            }
        }
    } catch {
        result.failure = error
    }
    result.ended = decoder.endedProperly
    return result
}

@Suite("Frames")
struct FrameTests {
    @Test(
        "messages and payloads arrive whole however the bytes are cut",
        arguments: [1, 2, 3, 17, 64, 1_000, 65_536, Int.max], [0, 1, 4_095, 4_096, 70_000])
    func chunks(chunk: Int, size: Int) throws {
        guard chunk > 3 || size < 5_000 else { return }
        var random = SplitMix64(seed: 42)
        let payload = random.bytes(size)
        let requests = [(Request.status, []), (put(size), payload), (.flush(expecting: []), []), (put(size), payload), (.status, [])]
        let (wire, _) = try Wire.of(requests)
        let result = decode(wire, chunk: chunk)
        #expect(result.failure == nil && result.greeted && result.ended)
        #expect(result.messages.map(\.0) == [1, 2, 3, 4, 5])
        #expect(result.messages.map(\.1) == requests.map(\.0))
        #expect(result.messages.map(\.2) == requests.map(\.1))
    }

    @Test("the longest payload passes, one byte more is refused before it takes memory")
    func longest() throws {
        let payload = [UInt8](repeating: 1, count: Limits.blockSize)
        let (wire, _) = try Wire.of([(put(payload.count), payload)])
        #expect(decode(wire, chunk: 262_144).messages.first?.2 == payload)

        let (tooLong, _) = try Wire.of([(.status, [])])
        var encoder = FrameEncoder(key: tooLong.key, handshakeHash: tooLong.hash)
        var buffer = ByteBuffer()
        try encoder.begin(into: &buffer)
        var writer = ByteWriter()
        writer.append(RequestID(1))
        put(Limits.blockSize + 1).encode(into: &writer)
        try encoder.encode(writer.bytes, into: &buffer)
        let result = decode(tooLong, bytes: Array(buffer.readableBytesView))
        guard case .message = result.failure else {
            Issue.record("\(String(describing: result.failure))")
            return
        }
    }

    @Test("cut at any byte, nothing incomplete is delivered and the end is not a proper one")
    func truncation() throws {
        let (wire, offsets) = try Wire.of([(.status, []), (put(300), [UInt8](repeating: 9, count: 300)), (.flush(expecting: []), [])])
        for length in 0..<wire.bytes.count {
            let result = decode(wire, bytes: Array(wire.bytes[..<length]))
            #expect(result.failure == nil && !result.ended)
            #expect(result.messages.count == offsets.dropFirst().count { $0 <= length })
        }
    }

    @Test("a flipped bit in a message fails, in a payload it passes and the rest survives")
    func flips() throws {
        let payload = [UInt8](repeating: 9, count: 64)
        let (wire, offsets) = try Wire.of([(.status, []), (put(64), payload), (.flush(expecting: []), [])])
        let payloadRange = offsets[2] - 64..<offsets[2]
        for offset in wire.bytes.indices {
            var bytes = wire.bytes
            bytes[offset] ^= 0x10
            let result = decode(wire, bytes: bytes)
            if payloadRange.contains(offset) {
                #expect(result.failure == nil && result.ended && result.messages.count == 3)
                #expect(result.messages[1].2 != payload)
            } else {
                // A length made longer waits for bytes that do not come; everything else does not open.
                #expect(!result.ended)
                #expect(result.messages.count == offsets.dropFirst().count { $0 <= offset })
            }
        }
    }

    @Test("lengths that cannot be are refused at once", arguments: [0, 20, 262_162, 1 << 24, UInt32.max])
    func hostileLengths(length: UInt32) throws {
        let (wire, offsets) = try Wire.of([(.status, [])], goodbye: false)
        var writer = ByteWriter()
        writer.append(length)
        let result = decode(wire, bytes: wire.bytes[..<offsets[0]] + writer.bytes)
        #expect(result.failure == .frameLength(Int(length)))
    }

    @Test("repeated, reordered and missing frames do not open")
    func replayed() throws {
        let (wire, offsets) = try Wire.of([(.status, []), (.flush(expecting: []), []), (.status, [])])
        let first = wire.bytes[..<offsets[0]]
        let parts = (0..<3).map { wire.bytes[offsets[$0]..<offsets[$0 + 1]] }
        for bytes in [parts[0] + parts[0], parts[1] + parts[0], parts[0] + parts[2]] {
            let result = decode(wire, bytes: Array(first + bytes))
            guard case .crypto = result.failure else {
                Issue.record("\(String(describing: result.failure))")
                continue
            }
        }
    }

    @Test("data after the goodbye is an error")
    func afterTheEnd() throws {
        let (wire, _) = try Wire.of([(.status, [])])
        #expect(decode(wire, bytes: wire.bytes + [0]).failure == .outOfPlace("data after the end"))
    }

    @Test("a stream of another handshake is not taken: its hash is bound into the first frame")
    func otherHandshake() throws {
        let (wire, _) = try Wire.of([(.status, [])])
        var decoder = Decoder(key: wire.key, handshakeHash: [UInt8](repeating: 8, count: 32))
        decoder.feed(ByteBuffer(bytes: wire.bytes))
        var failure: Decoder.Failure?
        do throws(Decoder.Failure) { _ = try decoder.next() } catch { failure = error }
        #expect(failure == .crypto(.notAuthentic(.streamMessage)))
    }

    @Test("a message before the greeting, or a second greeting, is an error")
    func order() throws {
        let (wire, _) = try Wire.of([])
        var sealer = StreamSealer(key: wire.key)
        var status = ByteWriter()
        status.append(RequestID(1))
        Request.status.encode(into: &status)
        let hello: [UInt8] = [0, 0, 0, 0, FrameWire.Control.hello.rawValue]
        func frame(_ sealed: [UInt8]) -> [UInt8] {
            withUnsafeBytes(of: UInt32(sealed.count).bigEndian) { Array($0) } + sealed
        }
        let early = sealer.header + frame(try sealer.seal(status.bytes, additionalData: wire.hash))
        #expect(decode(wire, bytes: early).failure == .outOfPlace("a message before the greeting"))

        var second = StreamSealer(key: wire.key)
        let twice =
            second.header + frame(try second.seal(hello, additionalData: wire.hash)) + frame(try second.seal(hello))
        #expect(decode(wire, bytes: twice).failure == .outOfPlace("a greeting"))
    }

    @Test("authentic nonsense never traps")
    func fuzzInside() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        for _ in 0..<2_000 {
            let wire = Wire()
            var encoder = FrameEncoder(key: wire.key, handshakeHash: wire.hash)
            var buffer = ByteBuffer()
            try encoder.begin(into: &buffer)
            for _ in 0..<3 {
                var plain = random.bytes(Int.random(in: 4...120, using: &random))
                if Bool.random(using: &random) { plain.replaceSubrange(0..<3, with: [0, 0, 0]) }
                if plain.count > 4 { plain[4] = UInt8.random(in: 0...12, using: &random) }
                try encoder.encode(plain, into: &buffer)
            }
            let result = decode(
                wire, chunk: Int.random(in: 1...200, using: &random), bytes: Array(buffer.readableBytesView))
            #expect(result.greeted, "seed \(seed)")
        }
    }

    @Test("bytes changed, inserted and removed at random never trap")
    func fuzzOutside() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        let requests = [(Request.status, []), (put(200), random.bytes(200)), (.flush(expecting: []), []), (.list(after: nil), [])]
        for _ in 0..<2_000 {
            let (wire, _) = try Wire.of(requests)
            var bytes = wire.bytes
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let offset = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0...2, using: &random) {
                case 0: bytes[offset] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.insert(UInt8.random(in: 0...255, using: &random), at: offset)
                default: bytes.remove(at: offset)
                }
            }
            let result = decode(wire, chunk: Int.random(in: 1...400, using: &random), bytes: bytes)
            for (number, (id, request, _)) in result.messages.enumerated() {
                #expect(id == RequestID(number + 1) && request == requests[number].0, "seed \(seed)")
            }
        }
    }
}
