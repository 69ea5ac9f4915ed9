import LanfsCrypto
import LanfsProtocol
import NIOCore

/// Turns the bytes of one direction into messages and payloads. Knows no channel; holds at most the chunks it was fed,
/// one frame in parts and one payload in parts.
struct FrameDecoder<Message: WireMessage>: ~Copyable {
    enum Step {
        case needsMore
        /// A message with its payload still to come (or none): comes before `complete`, so that the receiver may stop
        /// here before the payload takes memory.
        case announced(RequestID, Message)
        case complete(RequestID, Message, ByteBuffer?)
        case alive
        case hello
        case goodbye
    }
    typealias Failure = FrameFailure

    private enum Stage {
        case header
        case hello
        case frame
        case announced(RequestID, Message)
        case payload(RequestID, Message, ByteBuffer)
        case finished
    }

    private let key: SharedSecret
    private let handshakeHash: [UInt8]
    private var opener: StreamOpener?
    private var stage = Stage.header
    private var chunks = ChunkQueue()
    /// A frame that began in an earlier chunk.
    private var carry = ByteBuffer()

    init(key: SharedSecret, handshakeHash: [UInt8]) {
        self.key = key
        self.handshakeHash = handshakeHash
    }

    mutating func feed(_ chunk: ByteBuffer) {
        chunks.append(chunk)
    }

    /// Something has begun and its rest has not arrived.
    var isMidMessage: Bool {
        switch stage {
        case .header, .hello, .payload, .announced: true
        case .frame: carry.readableBytes > 0 || !chunks.isEmpty
        case .finished: false
        }
    }

    /// Call at the end of input.
    var endedProperly: Bool { if case .finished = stage { true } else { false } }

    mutating func next() throws(Failure) -> Step {
        while true {
            switch stage {
            case .header:
                guard let header = take(SecretStream.headerSize) else { return .needsMore }
                do throws(CryptoError) {
                    opener = try StreamOpener(key: key, header: header)
                } catch { throw .crypto(error) }
                stage = .hello
            case .hello, .frame:
                guard let step = try nextFrame() else { return .needsMore }
                return step
            case .announced(let id, let message):
                guard message.payloadLength > 0 else {
                    stage = .frame
                    return .complete(id, message, nil)
                }
                if let payload = chunks.slice(message.payloadLength) {
                    stage = .frame
                    return .complete(id, message, payload)
                }
                let payload = ByteBufferAllocator().buffer(capacity: message.payloadLength)
                stage = .payload(id, message, payload)
            case .payload(let id, let message, var payload):
                stage = .frame  // gives up the second reference, else each append would copy the payload
                chunks.move(to: &payload, upTo: message.payloadLength)
                guard payload.readableBytes == message.payloadLength else {
                    stage = .payload(id, message, payload)
                    return .needsMore
                }
                return .complete(id, message, payload)
            case .finished:
                guard chunks.isEmpty else { throw .outOfPlace("data after the end") }
                return .needsMore
            }
        }
    }

    private mutating func nextFrame() throws(Failure) -> Step? {
        // The common case reads the frame where it lies; only one cut by a chunk's end is gathered first.
        let first = chunks.first
        if carry.readableBytes == 0, let length = first.getInteger(at: first.readerIndex, as: UInt32.self) {
            try check(length)
            let total = FrameWire.lengthSize + Int(length)
            if first.readableBytes >= total {
                let plain = try open(first.viewOf(total))
                chunks.skip(total)
                return try read(plain)
            }
        }
        chunks.move(to: &carry, upTo: FrameWire.lengthSize)
        guard let length = carry.getInteger(at: carry.readerIndex, as: UInt32.self) else { return nil }
        try check(length)
        let total = FrameWire.lengthSize + Int(length)
        chunks.move(to: &carry, upTo: total)
        guard carry.readableBytes == total else { return nil }
        let plain = try open(carry.viewOf(total))
        carry.clear()
        return try read(plain)
    }

    private func check(_ length: UInt32) throws(Failure) {
        guard FrameWire.sealedLengths.contains(Int(length)) else { throw .frameLength(Int(length)) }
    }

    private mutating func open(_ frame: ByteBufferView) throws(Failure) -> (bytes: [UInt8], isFinal: Bool) {
        // `.header` made the opener before any frame.
        guard opener != nil else { throw .outOfPlace("a frame before the header") }
        let additional = if case .hello = stage { handshakeHash } else { [UInt8]() }
        var outcome = Result<Bool, CryptoError>.success(false)
        let count = frame.count - FrameWire.lengthSize - SecretStream.overhead
        let plain = [UInt8](unsafeUninitializedCapacity: count) { plain, initialized in
            frame.withUnsafeBytes { frame in
                additional.withUnsafeBytes { additional in
                    outcome = Result { () throws(CryptoError) in
                        try opener?.open(
                            UnsafeRawBufferPointer(rebasing: frame[FrameWire.lengthSize...]),
                            additionalData: additional, into: UnsafeMutableRawBufferPointer(plain)
                        ).isFinal ?? false
                    }
                }
            }
            initialized = if case .success = outcome { count } else { 0 }
        }
        switch outcome {
        case .success(let isFinal): return (plain, isFinal)
        case .failure(let error): throw .crypto(error)
        }
    }

    private mutating func read(_ plain: (bytes: [UInt8], isFinal: Bool)) throws(Failure) -> Step {
        let content: Content
        do throws(DecodingError) {
            content = try Content(plain.bytes)
        } catch {
            throw .message(error)
        }
        switch content {
        case .control(let code): return try control(code, isFinal: plain.isFinal)
        case .message(let id, let message):
            if case .hello = stage { throw .outOfPlace("a message before the greeting") }
            guard !plain.isFinal else { throw .outOfPlace("a message as the last word") }
            guard (0...Limits.blockSize).contains(message.payloadLength) else {
                throw .payloadLength(message.payloadLength)
            }
            stage = .announced(id, message)
            return .announced(id, message)
        }
    }

    private enum Content {
        case control(UInt8)
        case message(RequestID, Message)

        init(_ bytes: [UInt8]) throws(DecodingError) {
            var reader = ByteReader(bytes)
            let id: RequestID = try reader.integer()
            if id == FrameWire.controlID {
                self = .control(try reader.integer())
            } else {
                self = .message(id, try Message(from: &reader))
            }
            try reader.finish()
        }
    }

    private mutating func control(_ code: UInt8, isFinal: Bool) throws(Failure) -> Step {
        guard let control = FrameWire.Control(rawValue: code) else { throw .control(code) }
        let isFirst = if case .hello = stage { true } else { false }
        switch control {
        case .hello:
            guard isFirst, !isFinal else { throw .outOfPlace("a greeting") }
            stage = .frame
            return .hello
        case .alive:
            guard !isFirst, !isFinal else { throw .outOfPlace("a sign of life") }
            return .alive
        case .goodbye:
            guard !isFirst, isFinal else { throw .outOfPlace("a goodbye") }
            stage = .finished
            return .goodbye
        }
    }
}

extension FrameDecoder {
    private mutating func take(_ count: Int) -> [UInt8]? {
        chunks.move(to: &carry, upTo: count)
        guard carry.readableBytes == count else { return nil }
        defer { carry.clear() }
        return carry.getBytes(at: carry.readerIndex, length: count)
    }
}

extension ByteBuffer {
    /// The first `count` readable bytes; the caller has checked that they are there.
    fileprivate func viewOf(_ count: Int) -> ByteBufferView {
        ByteBufferView(self)[readerIndex..<readerIndex + count]
    }
}

// Not inside the generic decoder: the optimizer of Swift 6.3 fails on errors whose type depends on a generic parameter.

enum FrameFailure: Error, Equatable, CustomStringConvertible {
    case frameLength(Int)
    case crypto(CryptoError)
    case message(DecodingError)
    case payloadLength(Int)
    case control(UInt8)
    case outOfPlace(String)

    var description: String {
        switch self {
        case .frameLength(let length): "a message of \(length) bytes, which cannot be"
        case .crypto(let error): error.description
        case .message(let error): "a message that cannot be read: \(error)"
        case .payloadLength(let length): "a payload of \(length) bytes, which cannot be"
        case .control(let code): "a control message of kind \(code)"
        case .outOfPlace(let what): "\(what) out of place"
        }
    }
}
