import LanfsCrypto
import LanfsProtocol
import NIOCore

@testable import LanfsNetwork

private let streamKey = SharedSecret(copying: [UInt8](repeating: 5, count: 32))
private let handshakeHash = [UInt8](repeating: 6, count: 32)

extension Target {
    /// A connection after its handshake. First byte: which side reads, and the size of the parts it comes in. Then one
    /// byte and a piece each: a frame sealed rightly around it, or the raw bytes.
    static let frames = Target(
        name: "frames",
        seeds: {
            let hello: [UInt8] = [0] + piece([0, 0, 0, 0, 1])
            let goodbye: [UInt8] = [1] + piece([0, 0, 0, 0, 3])
            let alive: [UInt8] = [0] + piece([0, 0, 0, 0, 2])
            func message(_ write: (inout ByteWriter) -> Void) -> [UInt8] { [0] + piece([0, 0, 0, 1] + encoding(write)) }
            let put = message { Request.put(block: sampleID(1), length: 5, gcEpoch: 2).encode(into: &$0) }
            let block = message { Response.block(length: 5).encode(into: &$0) }
            let payload: [UInt8] = [2] + piece([1, 2, 3, 4, 5])
            return [
                [0, 255] + hello + put + payload + goodbye, [1, 255] + hello + alive + block + payload + goodbye,
                [0, 3] + hello + message { Request.status.encode(into: &$0) } + goodbye, [1, 1] + hello + goodbye,
                [0, 255] + hello + [2] + piece([0, 0, 0, 30]),
            ]
        },
        run: { bytes in
            var input = Input(bytes)
            let side = input.byte()
            let step = max(1, Int(input.byte()))
            let wire = wire(&input)
            if side & 1 == 0 { read(Request.self, wire, step) } else { read(Response.self, wire, step) }
        })
}

private func wire(_ input: inout Input) -> [UInt8] {
    var sealer = StreamSealer(key: streamKey)
    var wire = sealer.header
    var isFirst = true
    while !input.isEmpty {
        let kind = input.byte()
        let part = input.piece()
        if kind & 2 == 0 {
            let sealed = try? sealer.seal(part, additionalData: isFirst ? handshakeHash : [], final: kind & 1 == 1)
            guard let sealed else { continue }
            isFirst = false
            wire += encoding { $0.append(UInt32(sealed.count)) } + sealed
        } else {
            wire += part
        }
    }
    return wire
}

private func read<Message: WireMessage>(_ type: Message.Type, _ wire: [UInt8], _ step: Int) {
    var decoder = FrameDecoder<Message>(key: streamKey, handshakeHash: handshakeHash)
    var rest = wire[...]
    do throws(FrameFailure) {
        while !rest.isEmpty {
            decoder.feed(ByteBuffer(bytes: rest.prefix(step)))
            rest = rest.dropFirst(step)
            reading: while true {
                switch try decoder.next() {
                case .needsMore: break reading
                case .complete(_, let message, let payload):
                    require(payload?.readableBytes ?? 0 == message.payloadLength, "a payload of another length")
                case .announced, .alive, .hello: continue
                case .goodbye: require(decoder.endedProperly, "a goodbye that is no end")
                }
            }
        }
    } catch {
        _ = error.description
    }
}
